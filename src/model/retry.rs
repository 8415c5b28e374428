//! When a failed attempt is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Outcome, Span};

/// How often and how far apart a task is tried again. Airflow's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Tries after the first. Default 0, at most 1 000.
    pub retries: u32,
    /// Pause before the second try. Default `5m`.
    #[schema(value_type = String)]
    pub retry_delay: Span,
    /// Factor from one pause to the next, 1 to 100. Default 2.0.
    pub retry_exponential_backoff: f64,
    /// No pause is longer, jitter included. Default `24h`.
    #[schema(value_type = String)]
    pub max_retry_delay: Span,
    /// Outcomes that are tried again. Default `failed trapped timed_out out_of_memory`.
    pub retry_on: Vec<Outcome>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 0,
            retry_delay: Span::from_secs(300),
            retry_exponential_backoff: 2.0,
            max_retry_delay: Span::from_secs(24 * 3600),
            retry_on: vec![Outcome::Failed, Outcome::Trapped, Outcome::TimedOut, Outcome::OutOfMemory],
        }
    }
}

/// What the task itself says about another try.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAdvice {
    #[default]
    ByPolicy,
    Never,
    After(Duration),
}

impl RetryPolicy {
    /// The pauses before the second, third, … try; its end is "no more tries".
    ///
    /// `seed` decides the jitter, which shortens a pause by up to a quarter so
    /// that tasks that failed together do not come back together.
    pub fn pauses(&self, seed: u64) -> impl Iterator<Item = Duration> + '_ {
        let mut pause = self.retry_delay.get().as_secs_f64();
        let longest = self.max_retry_delay.get().as_secs_f64();
        (0..u64::from(self.retries)).map(move |try_index| {
            let jitter = 1.0 - unit_interval(seed ^ try_index.wrapping_mul(0x9e37_79b9_7f4a_7c15)) / 4.0;
            let this = Duration::from_secs_f64(pause.min(longest) * jitter);
            pause = (pause * self.retry_exponential_backoff).min(longest);
            this
        })
    }

    /// The pause after the try numbered `tried` (counted from 1 since the last
    /// submit or rerun), or `None` when there is no further try.
    pub fn pause_after(&self, tried: u32, outcome: Outcome, advice: RetryAdvice, seed: u64) -> Option<Duration> {
        if !self.retry_on.contains(&outcome) || advice == RetryAdvice::Never {
            return None;
        }
        let pause = self.pauses(seed).nth(tried.saturating_sub(1) as usize)?;
        match advice {
            RetryAdvice::After(at_least) => Some(pause.max(at_least.min(self.max_retry_delay.get()))),
            RetryAdvice::ByPolicy | RetryAdvice::Never => Some(pause),
        }
    }
}

/// Maps a seed to [0, 1) (the finalizer of SplitMix64).
fn unit_interval(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as f64 / (u64::MAX as f64 + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_by_the_factor_and_stop_at_the_maximum() {
        let policy = RetryPolicy {
            retries: 5,
            retry_delay: Span::from_secs(10),
            max_retry_delay: Span::from_secs(60),
            ..RetryPolicy::default()
        };
        let pauses: Vec<f64> = policy.pauses(7).map(|p| p.as_secs_f64()).collect();
        assert_eq!(pauses.len(), 5);
        for (pause, full) in pauses.iter().zip([10.0, 20.0, 40.0, 60.0, 60.0]) {
            assert!(*pause <= full && *pause >= full * 0.75, "{pause} of {full}");
        }
    }

    #[test]
    fn advice_of_the_task_overrides_the_policy_within_its_tries() {
        let policy = RetryPolicy { retries: 1, ..RetryPolicy::default() };
        let after = |tried, advice| policy.pause_after(tried, Outcome::Failed, advice, 1);
        assert_eq!(after(1, RetryAdvice::Never), None);
        assert_eq!(after(1, RetryAdvice::After(Duration::from_secs(7200))), Some(Duration::from_secs(7200)));
        assert_eq!(after(2, RetryAdvice::After(Duration::from_secs(1))), None);
        assert_eq!(policy.pause_after(1, Outcome::Denied, RetryAdvice::ByPolicy, 1), None);
    }
}
