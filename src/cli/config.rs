//! `tradewind config`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use super::error::CliError;
use super::output::Field;
use super::server::SettingsArgs;
use crate::config::{Loaded, SETTINGS};
use crate::model::ByteSize;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    Show(ShowCommand),
}

/// Print every setting in force and where it came from: default, file, environment or flag.
#[derive(Debug, Args)]
pub(super) struct ShowCommand {
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

impl ConfigCommand {
    pub(super) fn run(self, context: &mut Context) -> Result<(), CliError> {
        let Self::Show(_) = self;
        let settings = effective(&context.loaded);
        if context.output.is_json() {
            let list: Vec<Value> = settings
                .into_iter()
                .map(|shown| {
                    json!({ "key": shown.key, "value": shown.value, "from": shown.origin,
                            "variable": shown.variable, "docs": shown.docs })
                })
                .collect();
            return context.output.line(&Value::from(list).to_string());
        }
        let rows = settings.into_iter().map(|shown| {
            let value = match shown.value {
                Value::Null => Field::or_dash(None::<String>),
                Value::String(text) => text.into(),
                Value::Number(bytes) if shown.key.ends_with("_bytes") => {
                    ByteSize::new(bytes.as_u64().unwrap_or_default()).into()
                }
                other => other.into(),
            };
            vec![shown.key.into(), value, shown.origin.into(), shown.docs.into()]
        });
        context.output.table(&["KEY", "VALUE", "FROM", "MEANING"], rows.collect())
    }
}

struct Shown {
    key: String,
    value: Value,
    origin: String,
    variable: String,
    docs: &'static str,
}

fn effective(loaded: &Loaded) -> Vec<Shown> {
    // Secrets turn into dots on the way.
    let values = serde_json::to_value(&loaded.settings).unwrap_or_default();
    SETTINGS
        .iter()
        .map(|setting| Shown {
            key: setting.path(),
            value: values[setting.section][setting.key].clone(),
            origin: loaded.origin(&setting.path()).to_owned(),
            variable: setting.variable(),
            docs: setting.docs.trim(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FlagValue, Sources};

    #[test]
    fn every_setting_is_shown_with_its_origin_and_no_secret() {
        let flag = |path: &str, value: &str| FlagValue { flag: "--set", path: path.into(), value: value.into() };
        let flags = vec![flag("worker.slots", "3"), flag("client.token", "hush")];
        let loaded = Loaded::from(&Sources { flags, ..Sources::default() }).expect("good settings");
        let shown = effective(&loaded);
        assert_eq!(shown.len(), SETTINGS.len());
        let of = |key: &str| {
            let found = shown.iter().find(|shown| shown.key == key).expect(key);
            (found.value.clone(), found.origin.as_str(), found.variable.as_str())
        };
        assert_eq!(of("worker.slots"), (json!(3), "flag --set", "TRADEWIND_WORKER_SLOTS"));
        assert_eq!(of("client.token"), (json!("••••••"), "flag --set", "TRADEWIND_TOKEN"));
        assert_eq!(of("retention.ended_tasks"), (json!("720h"), "default", "TRADEWIND_RETENTION_ENDED_TASKS"));
        assert_eq!(of("limits.memory_bytes"), (json!(268_435_456), "default", "TRADEWIND_LIMITS_MEMORY_BYTES"));
        assert!(shown.iter().all(|shown| !shown.docs.is_empty()));
    }
}
