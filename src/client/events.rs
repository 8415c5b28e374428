//! Reads server-sent events from an answer, as the server writes them.

use bytes::{Buf, Bytes, BytesMut};

/// What is held of one event at most; the server's own bound on a module's description
/// is far below.
const MAX_EVENT_BYTES: usize = 64 << 20;

/// One event.
#[derive(Debug, PartialEq)]
pub(super) struct Event {
    pub(super) kind: String,
    pub(super) data: Bytes,
}

/// The events of an answer.
pub(super) struct Events {
    response: reqwest::Response,
    read: BytesMut,
}

impl Events {
    pub(super) fn of(response: reqwest::Response) -> Self {
        Self { response, read: BytesMut::new() }
    }

    /// The next event; `None` when the stream has ended or makes no sense any more.
    pub(super) async fn next(&mut self) -> reqwest::Result<Option<Event>> {
        loop {
            if let Some(event) = take_event(&mut self.read) {
                return Ok(Some(event));
            }
            match self.response.chunk().await? {
                Some(piece) if self.read.len() + piece.len() <= MAX_EVENT_BYTES => self.read.extend_from_slice(&piece),
                _ => return Ok(None),
            }
        }
    }
}

/// Takes the first whole event with data. What is no event (a comment that keeps the
/// connection alive) is passed over.
fn take_event(read: &mut BytesMut) -> Option<Event> {
    loop {
        let end = read.windows(2).position(|two| two == b"\n\n")?;
        let text = read.split_to(end);
        read.advance(2);
        let mut event = Event { kind: "message".to_owned(), data: Bytes::new() };
        let mut data = BytesMut::new();
        for line in text[..].split(|&byte| byte == b'\n') {
            let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
            let (field, value) = line.split_at(colon);
            let value = value.strip_prefix(b":").unwrap_or(value);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match field {
                b"event" => event.kind = String::from_utf8_lossy(value).into_owned(),
                b"data" => {
                    if !data.is_empty() {
                        data.extend_from_slice(b"\n");
                    }
                    data.extend_from_slice(value);
                }
                _ => {}
            }
        }
        if !data.is_empty() {
            event.data = data.freeze();
            return Some(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_when_they_are_whole() {
        let mut read = BytesMut::new();
        let mut seen = Vec::new();
        for piece in ["event: progress\nda", "ta: {\"a\":1}\n", "\n: alive\n\nevent:module\ndata: 1\ndata:2\n\ndata: x"]
        {
            read.extend_from_slice(piece.as_bytes());
            while let Some(Event { kind, data }) = take_event(&mut read) {
                seen.push((kind, String::from_utf8(data.to_vec()).expect("text")));
            }
        }
        let expected = [("progress", "{\"a\":1}"), ("module", "1\n2")];
        assert_eq!(seen, expected.map(|(kind, data)| (kind.to_owned(), data.to_owned())));
        assert_eq!(&read[..], b"data: x");
    }
}
