//! Where settings are looked for, and what is set there: each value with its place.

use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Tag, Value};
use figment::{Metadata, Profile, Provider};

use super::{DEFAULT_FILE, FILE_VARIABLE, PREFIX, SETTINGS, Setting, SettingsError};

/// Where settings are looked for. Gathered at the edge, so that loading is a function of its arguments.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub file: Option<SettingsFile>,
    /// Variables of the environment; others than `TRADEWIND_…` are passed over.
    pub environment: Vec<(String, String)>,
    pub flags: Vec<FlagValue>,
}

#[derive(Debug, Clone)]
pub struct SettingsFile {
    pub path: PathBuf,
    pub text: String,
}

/// A setting given on the command line.
#[derive(Debug, Clone)]
pub struct FlagValue {
    /// As it was written: `--listen`.
    pub flag: &'static str,
    /// `server.listen`
    pub path: String,
    pub value: String,
}

impl Sources {
    /// Reads the environment and the file: the one named, else the one that the
    /// environment names, else `tradewind.toml` where there is one.
    pub fn gather(named: Option<&Path>, flags: Vec<FlagValue>) -> Result<Self, SettingsError> {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
                Some((name, value.to_string_lossy().into_owned()))
            })
            .collect();
        let from_environment = environment.iter().find(|(name, _)| name == FILE_VARIABLE).map(|(_, path)| path);
        let must_exist = named.or(from_environment.map(Path::new));
        let path = must_exist.unwrap_or(Path::new(DEFAULT_FILE));
        let file = match std::fs::read_to_string(path) {
            Ok(text) => Some(SettingsFile { path: path.to_owned(), text }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && must_exist.is_none() => None,
            Err(error) => {
                return Err(SettingsError::File { path: path.display().to_string(), reason: error.to_string() });
            }
        };
        Ok(Self { file, environment, flags })
    }
}

/// One value and where it came from; figment keeps the two together.
pub(super) struct Layer {
    origin: String,
    setting: Setting,
    value: Value,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let section = Dict::from([(self.setting.key.to_owned(), self.value.clone())]);
        Ok(Profile::Default.collect(Dict::from([(self.setting.section.to_owned(), section.into())])))
    }
}

pub(super) fn file_layers(file: &SettingsFile) -> Result<Vec<Layer>, SettingsError> {
    let path = file.path.display().to_string();
    let in_file = |reason: String| SettingsError::File { path: path.clone(), reason };
    let place = |offset: usize| {
        let line = file.text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("file {path}, line {line}")
    };
    let values: toml::Table = toml::from_str(&file.text).map_err(|error| in_file(error.to_string()))?;
    // The same text once more, for the places of its keys.
    let spans = toml::de::DeTable::parse(&file.text).map_err(|error| in_file(error.to_string()))?;
    let mut layers = Vec::new();
    for (section, section_spans) in spans.get_ref() {
        let section_name = section.get_ref().as_ref();
        let section_place = place(section.span().start);
        let (Some(keys), Some(toml::Value::Table(section_values))) =
            (section_spans.get_ref().as_table(), values.get(section_name))
        else {
            return Err(unknown(section_name, section_place));
        };
        if !SETTINGS.iter().any(|setting| setting.section == section_name) {
            return Err(unknown(section_name, section_place));
        }
        for (key, _) in keys {
            let name = key.get_ref().as_ref();
            let origin = place(key.span().start);
            let setting = find(&format!("{section_name}.{name}"), &origin)?;
            let value =
                section_values.get(name).map(Value::serialize).transpose().map_err(|e| in_file(e.to_string()))?;
            layers.extend(value.map(|value| Layer { origin, setting, value }));
        }
    }
    Ok(layers)
}

pub(super) fn environment_layers(environment: &[(String, String)]) -> Result<Vec<Layer>, SettingsError> {
    let mut layers = Vec::new();
    for (name, value) in environment {
        if !name.starts_with(PREFIX) || name == FILE_VARIABLE || is_service_link(name, value) {
            continue;
        }
        let origin = format!("environment {name}");
        let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == *name) else {
            let known = SETTINGS.iter().map(Setting::variable);
            let suggestion = nearest(name, known);
            return Err(SettingsError::Unknown { key: name.clone(), place: "the environment".to_owned(), suggestion });
        };
        layers.push(Layer { origin, setting: *setting, value: Value::String(Tag::Default, value.clone()) });
    }
    Ok(layers)
}

/// Whether a variable is one of those that Kubernetes and Docker give to every
/// container beside a service called `tradewind`: `TRADEWIND_SERVICE_HOST`,
/// `TRADEWIND_PORT_8080_TCP`. Refusing those would keep our own pods from starting.
fn is_service_link(name: &str, value: &str) -> bool {
    let parts: Vec<&str> = name.split('_').collect();
    let service = parts.windows(2).any(|pair| matches!(pair, ["SERVICE", "HOST" | "PORT"]));
    let port =
        parts.windows(3).any(|three| matches!(three, ["PORT", number, "TCP" | "UDP"] if number.parse::<u16>().is_ok()));
    service || port || (parts.last() == Some(&"PORT") && value.contains("://"))
}

pub(super) fn flag_layers(flags: &[FlagValue]) -> Result<Vec<Layer>, SettingsError> {
    flags
        .iter()
        .map(|flag| {
            let origin = format!("flag {}", flag.flag);
            let setting = find(&flag.path, &origin)?;
            Ok(Layer { origin, setting, value: Value::String(Tag::Default, flag.value.clone()) })
        })
        .collect()
}

fn find(path: &str, place: &str) -> Result<Setting, SettingsError> {
    let found = SETTINGS.iter().find(|setting| setting.path() == path);
    found.copied().ok_or_else(|| unknown(path, place.to_owned()))
}

fn unknown(key: &str, place: String) -> SettingsError {
    let known: Vec<String> = SETTINGS.iter().map(Setting::path).collect();
    let bare_key = key.rsplit('.').next().unwrap_or(key);
    // A key that only stands in the wrong section, or in none, is known by its last part.
    let elsewhere = SETTINGS.iter().find(|setting| setting.key == bare_key).map(Setting::path);
    let sections = SETTINGS.iter().map(|setting| setting.section.to_owned());
    let suggestion = elsewhere.or_else(|| nearest(key, known.into_iter().chain(sections)));
    SettingsError::Unknown { key: key.to_owned(), place, suggestion }
}

/// The known name that takes the fewest edits, if those are few.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let (edits, nearest) = known.map(|candidate| (edits(name, &candidate), candidate)).min()?;
    (edits <= 1 + name.len() / 4).then_some(nearest)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
