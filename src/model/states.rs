//! What a task instance can be, and how an attempt can end.

/// Gives an enum without data its one text form and its number in the store.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant = $number),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The number in the store, which never changes its meaning.
            pub fn code(self) -> i64 {
                self as i64
            }

            pub fn from_code(code: i64) -> Option<Self> {
                match code { $($number => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($name::$variant),)+
                    _ => Err(format!("`{}` is none of {}", text.chars().take(100).collect::<String>(), [$($word),+].join(", "))),
                }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Airflow's states, and `cancelled`.
    TaskState {
        /// Waits for its `not_before`.
        Scheduled = 1 "scheduled",
        /// May start as soon as a slot is free.
        Queued = 2 "queued",
        Running = 3 "running",
        /// Waits for its next try.
        UpForRetry = 4 "up_for_retry",
        Deferred = 5 "deferred",
        Success = 6 "success",
        Failed = 7 "failed",
        Skipped = 8 "skipped",
        UpstreamFailed = 9 "upstream_failed",
        Removed = 10 "removed",
        Cancelled = 11 "cancelled",
    }
}

impl TaskState {
    /// Whether nothing more happens unless somebody asks for a rerun.
    pub fn is_final(self) -> bool {
        match self {
            Self::Scheduled | Self::Queued | Self::Running | Self::UpForRetry | Self::Deferred => false,
            Self::Success | Self::Failed | Self::Skipped | Self::UpstreamFailed | Self::Removed | Self::Cancelled => {
                true
            }
        }
    }
}

words! {
    /// How an attempt ended.
    Outcome {
        Success = 1 "success",
        /// The task said so: an error value, or an exit code.
        Failed = 2 "failed",
        Skipped = 3 "skipped",
        Deferred = 4 "deferred",
        /// Wall or CPU time ran out.
        TimedOut = 5 "timed_out",
        /// It asked for more memory than its limit, and then did not succeed.
        OutOfMemory = 6 "out_of_memory",
        /// The guest broke: unreachable code, stack overflow, division by zero.
        Trapped = 7 "trapped",
        /// It asked for what it was not granted, and then did not succeed.
        Denied = 8 "denied",
        OutputTooLarge = 9 "output_too_large",
        Cancelled = 10 "cancelled",
        /// Its host died; costs no try.
        Lost = 11 "lost",
    }
}

impl Outcome {
    /// The state of a task instance whose last attempt ended so.
    pub fn final_state(self) -> TaskState {
        match self {
            Self::Success => TaskState::Success,
            Self::Skipped => TaskState::Skipped,
            Self::Deferred => TaskState::Deferred,
            Self::Cancelled => TaskState::Cancelled,
            Self::Failed
            | Self::TimedOut
            | Self::OutOfMemory
            | Self::Trapped
            | Self::Denied
            | Self::OutputTooLarge
            | Self::Lost => TaskState::Failed,
        }
    }
}
