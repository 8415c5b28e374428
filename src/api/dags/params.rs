//! What runs of a DAG may be given. Schemas are compiled once for a version and checked on threads that may block:
//! not on those that read the store, which others wait for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value};
use tradewind_json_schema::Schema;

use crate::api::problem::{Place, Problem, internal};
use crate::dag::definition::Param;
use crate::dag::finding::pointer_part;
use crate::model::dag_names::ParamName;
use crate::model::{DagId, Digest, Json};
use crate::store::Reads;

/// Of all versions that are kept. When they weigh more, all are forgotten, and made anew where they are needed.
const MOST_BYTES: usize = 64 << 20;
/// A compiled schema takes about so many times its text.
const WEIGHT: usize = 32;
/// What comparing one value with its schema may take: ten seconds. See `Schema::looks`.
const MAX_LOOKS: u64 = 1_000_000_000;
/// Told of one value at most.
const MAX_PROBLEMS: usize = 20;
/// Told of all values together.
const MAX_WRONG: usize = 1_000;

/// The params of versions that were triggered lately.
#[derive(Default)]
pub struct Params(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    versions: HashMap<Digest, Arc<VersionParams>>,
    bytes: usize,
}

/// The params of one version.
pub struct VersionParams {
    version: Digest,
    params: Vec<(ParamName, Declared)>,
    bytes: usize,
}

struct Declared {
    default: Option<Value>,
    schema: Option<Schema>,
}

impl Params {
    /// Of the version that new runs take. None: there is no such DAG.
    pub async fn current(&self, reads: &Reads, dag: &DagId) -> Result<Option<Arc<VersionParams>>, Problem> {
        let name = dag.clone();
        let Some((version, _)) = reads.run(move |reader| reader.dag_standing(&name)).await? else { return Ok(None) };
        if let Some(known) = self.find(&version) {
            return Ok(Some(known));
        }
        let name = dag.clone();
        let Some(found) = reads.run(move |reader| reader.current_params(&name)).await? else { return Ok(None) };
        // There may be a newer one by now: it is as good.
        let compiling = tokio::task::spawn_blocking(move || VersionParams::of(found.version, found.params));
        let made = Arc::new(compiling.await.map_err(|error| internal(&error))?);
        self.keep(made.clone());
        Ok(Some(made))
    }

    fn find(&self, version: &Digest) -> Option<Arc<VersionParams>> {
        self.0.lock().versions.get(version).cloned()
    }

    fn keep(&self, made: Arc<VersionParams>) {
        let mut kept = self.0.lock();
        if kept.versions.contains_key(&made.version) {
            return;
        }
        if kept.bytes + made.bytes > MOST_BYTES {
            *kept = Kept::default();
        }
        kept.bytes += made.bytes;
        kept.versions.insert(made.version, made);
    }
}

impl VersionParams {
    fn of(version: Digest, declared: BTreeMap<ParamName, Param>) -> Self {
        let mut bytes = size_of::<Self>();
        let declared = declared.into_iter().map(|(name, Param { default, schema, .. })| {
            let length = |value: &Value| value.to_string().len();
            bytes += size_of::<Declared>() + default.as_ref().map_or(0, length);
            bytes += WEIGHT * schema.as_ref().map_or(0, length);
            // One that does not compile was accepted by another version: it decides nothing here.
            let schema = schema.and_then(|schema| Schema::compile(&schema).ok());
            (name, Declared { default, schema })
        });
        let params = declared.collect();
        Self { version, params, bytes }
    }

    pub fn version(&self) -> Digest {
        self.version
    }

    /// Their values in a run that is given these, or what is wrong with those.
    pub async fn values(self: Arc<Self>, given: Map<String, Value>) -> Result<Result<Json, Vec<Place>>, Problem> {
        if self.params.iter().all(|(_, declared)| declared.schema.is_none()) {
            return Ok(self.check(&given));
        }
        let checking = tokio::task::spawn_blocking(move || self.check(&given));
        checking.await.map_err(|error| internal(&error))
    }

    fn check(&self, given: &Map<String, Value>) -> Result<Json, Vec<Place>> {
        let (mut values, mut wrong) = (Map::new(), Vec::new());
        for (name, declared) in &self.params {
            if wrong.len() >= MAX_WRONG {
                break;
            }
            let path = format!("/conf/{}", pointer_part(name.as_str()));
            let Some(value) = given.get(name.as_str()).or(declared.default.as_ref()) else {
                let message = format!("param `{name}` has no default and is not given; add it to `conf`");
                wrong.push(Place::new(path, "missing_param", message));
                continue;
            };
            if let Some(schema) = declared.schema.as_ref() {
                if schema.looks(value) > MAX_LOOKS {
                    let message = format!("param `{name}` is too large to compare it with its schema; give it less");
                    wrong.push(Place::new(path, "param_not_valid", message));
                    continue;
                }
                let place = |problem: tradewind_json_schema::Problem| {
                    let message = format!("param `{name}` does not match its schema: {}", problem.message);
                    Place::new(format!("{path}{}", problem.path), "param_not_valid", message)
                };
                wrong.extend(schema.problems(value, MAX_PROBLEMS).into_iter().map(place));
            }
            if wrong.is_empty() {
                values.insert(name.as_str().to_owned(), value.clone());
            }
        }
        wrong.truncate(MAX_WRONG);
        match wrong.is_empty() {
            true => Ok(Json::of(&values).expect("JSON values are JSON")),
            false => Err(wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn declared() -> BTreeMap<ParamName, Param> {
        serde_json::from_value(json!({
            "city": {"default": "Ames", "schema": {"type": "string"}},
            "day": {"schema": {"type": "integer", "minimum": 1}},
            "any": {"default": null},
        }))
        .expect("params")
    }

    fn of_declared() -> VersionParams {
        VersionParams::of(Digest::of(b""), declared())
    }

    #[test]
    fn conf_overrides_what_is_default_and_may_say_more() {
        let given = json!({"day": 3, "more": [1], "city": "Rome"});
        let params = of_declared().check(given.as_object().expect("an object")).expect("params");
        assert_eq!(params.as_str(), r#"{"any":null,"city":"Rome","day":3}"#);
    }

    #[test]
    fn every_param_that_does_not_fit_is_told_of() {
        for (given, expected) in [
            (json!({}), vec!["/conf/day missing_param"]),
            (json!({"day": 0, "city": 5}), vec!["/conf/city param_not_valid", "/conf/day param_not_valid"]),
        ] {
            let wrong = of_declared().check(given.as_object().expect("an object")).expect_err("places");
            let wrong: Vec<String> = wrong.iter().map(|place| format!("{} {}", place.path, place.code)).collect();
            assert_eq!(wrong, expected, "{given}");
        }
    }

    #[test]
    fn a_value_that_is_too_large_for_its_schema_is_refused() {
        let param = Param { schema: Some(json!({"items": {"enum": vec![1; 50_000]}})), ..Param::default() };
        let params = VersionParams::of(Digest::of(b""), BTreeMap::from([("p".parse().expect("a name"), param)]));
        let given = |length| Map::from_iter([("p".to_owned(), json!(vec![1; length]))]);
        assert!(params.check(&given(10)).is_ok());
        let wrong = params.check(&given(50_000)).expect_err("places");
        assert!(wrong[0].message.contains("too large to compare"), "{wrong:?}");
    }

    #[test]
    fn so_many_mistakes_are_told_and_no_more() {
        let declared = (0..2 * MAX_WRONG).map(|n| (format!("p{n}").parse().expect("a name"), Param::default()));
        let params = VersionParams::of(Digest::of(b""), declared.collect());
        assert_eq!(params.check(&Map::new()).expect_err("places").len(), MAX_WRONG);
    }

    #[test]
    fn all_are_forgotten_when_they_weigh_too_much() {
        let schema = json!({"enum": vec!["x".repeat(1_000); MOST_BYTES / WEIGHT / 1_000 / 3]});
        let large = |n: u8| {
            let param = Param { schema: Some(schema.clone()), ..Param::default() };
            VersionParams::of(Digest::of(&[n]), BTreeMap::from([("p".parse().expect("a name"), param)]))
        };
        let kept = Params::default();
        for n in 0..2 {
            kept.keep(Arc::new(large(n)));
        }
        assert!(kept.find(&Digest::of(&[0])).is_some() && kept.find(&Digest::of(&[1])).is_some());
        kept.keep(Arc::new(large(2)));
        assert!(kept.find(&Digest::of(&[0])).is_none() && kept.find(&Digest::of(&[2])).is_some());
    }
}
