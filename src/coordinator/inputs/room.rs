//! The memory that outputs may take at the same time, over all that read them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits are counted in these.
const UNIT_BYTES: u64 = 1 << 10;

#[derive(Clone)]
pub(super) struct Room {
    units: Arc<Semaphore>,
    most_units: u32,
}

/// A part of the room; given back when dropped.
pub(super) struct Taken {
    _units: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new(bytes: u64) -> Self {
        let most_units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(most_units as usize)), most_units }
    }

    /// Waits until there is room for so many bytes; in turn, so that what is large is not passed over for ever. What is
    /// larger than all of the room takes all of it.
    ///
    /// Who holds a part must not ask for another: two of them would wait for each other.
    pub(super) async fn take(&self, bytes: u64) -> Taken {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(self.most_units);
        if units == 0 {
            return Taken { _units: None };
        }
        let permit = self.units.clone().acquire_many_owned(units).await;
        Taken { _units: Some(permit.expect("it is never closed")) }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_finds_no_room_waits_for_it() {
        let room = Room::new(10 << 10);
        let small = room.take(3 << 10).await;
        let other = room.take(7 << 10).await;
        let mut waits = Box::pin(room.take(1));
        assert!((&mut waits).now_or_never().is_none(), "all of it is taken");
        drop(small);
        drop(waits.await);
        drop(other);
        assert_eq!(room.units.available_permits(), 10);
    }

    #[tokio::test]
    async fn what_is_larger_than_all_of_it_takes_all_of_it() {
        let room = Room::new(10 << 10);
        let all = room.take(1 << 50).await;
        assert!(room.take(1).now_or_never().is_none());
        assert!(room.take(0).now_or_never().is_some(), "nothing needs no room");
        drop(all);
        assert!(room.take(1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_is_large_has_its_turn() {
        let room = Room::new(10 << 10);
        let small = room.take(2 << 10).await;
        let mut large = Box::pin(room.take(9 << 10));
        assert!((&mut large).now_or_never().is_none());
        assert!(Box::pin(room.take(1 << 10)).now_or_never().is_none(), "it came later");
        drop(small);
        drop(large.await);
    }
}
