//! What wins, what is refused and how, and that a secret is never shown.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::table::cores;
use crate::model::{ByteSize, Span};

use super::*;

fn file(text: &str) -> Option<SettingsFile> {
    Some(SettingsFile { path: "tradewind.toml".into(), text: text.to_owned() })
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn flag(path: &str, value: &str) -> Vec<FlagValue> {
    vec![FlagValue { flag: "--set", path: path.to_owned(), value: value.to_owned() }]
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let mut sources = Sources { file: file("[worker]\n\nslots = 3\n"), ..Sources::default() };
    let seen = |sources: &Sources| {
        let loaded = Loaded::from(sources).expect("good settings");
        (loaded.settings.worker.slots, loaded.origin("worker.slots").to_owned())
    };
    assert_eq!(seen(&Sources::default()), (8 * cores(), "default".to_owned()));
    assert_eq!(seen(&sources), (3, "file tradewind.toml, line 3".to_owned()));
    sources.environment = environment(&[("TRADEWIND_WORKER_SLOTS", "4"), ("PATH", "/bin")]);
    assert_eq!(seen(&sources), (4, "environment TRADEWIND_WORKER_SLOTS".to_owned()));
    sources.flags = flag("worker.slots", "5");
    assert_eq!(seen(&sources), (5, "flag --set".to_owned()));
}

#[test]
fn every_form_of_value_is_read() {
    let sources = Sources {
        file: file(
            "[server]\nlisten = \"0.0.0.0:9000\"\nmax_task_body_bytes = 1000\ngraceful_stop = \"1m30s\"\n\
             [log]\nformat = \"json\"\n[sandbox]\nmax_memory_bytes = \"2GiB\"\n",
        ),
        environment: environment(&[("TRADEWIND_DATA_DIR", "1234"), ("TRADEWIND_MAX_MODULE_BYTES", "1048576")]),
        ..Sources::default()
    };
    let settings = Loaded::from(&sources).expect("good settings").settings;
    assert_eq!(settings.server.listen, SocketAddr::from(([0, 0, 0, 0], 9000)));
    assert_eq!(settings.server.max_task_body_bytes, ByteSize::new(1000));
    assert_eq!(settings.server.max_module_bytes, ByteSize::mib(1));
    assert_eq!(settings.server.graceful_stop, Span::from_secs(90));
    assert_eq!(settings.server.data_dir, PathBuf::from("1234"));
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.sandbox.max_memory_bytes, ByteSize::mib(2048));
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_a_suggestion() {
    let refusal = |sources: Sources| Loaded::from(&sources).expect_err("unknown").to_string();
    assert_eq!(
        refusal(Sources { file: file("[server]\nlisten = \"127.0.0.1:1\"\nlisen = 2\n"), ..Sources::default() }),
        "setting `server.lisen` in file tradewind.toml, line 3 is not known; did you mean `server.listen`?"
    );
    assert_eq!(
        refusal(Sources { file: file("slots = 2\n"), ..Sources::default() }),
        "setting `slots` in file tradewind.toml, line 1 is not known; did you mean `worker.slots`?"
    );
    assert_eq!(
        refusal(Sources { file: file("[wroker]\nslots = 2\n"), ..Sources::default() }),
        "setting `wroker` in file tradewind.toml, line 1 is not known; did you mean `worker`?"
    );
    assert_eq!(
        refusal(Sources { environment: environment(&[("TRADEWIND_LISTN", "x")]), ..Sources::default() }),
        "setting `TRADEWIND_LISTN` in the environment is not known; did you mean `TRADEWIND_LISTEN`?"
    );
    assert_eq!(
        refusal(Sources { flags: flag("nothing.like_it", "x"), ..Sources::default() }),
        "setting `nothing.like_it` in flag --set is not known; `tradewind config show` lists them all"
    );
}

#[test]
fn a_bad_value_is_refused_with_its_key_and_place() {
    let refusal = |text: &str| {
        Loaded::from(&Sources { file: file(text), ..Sources::default() }).expect_err("bad value").to_string()
    };
    for (text, key, reason) in [
        ("[worker]\nslots = \"many\"", "worker.slots", "string \"many\" is not usize"),
        ("[worker]\nslots = -1", "worker.slots", "-1"),
        ("[worker]\nslots = 0", "worker.slots", "0 would stop all work"),
        ("[server]\ngraceful_stop = \"soon\"", "server.graceful_stop", "`soon` is not a length of time"),
        ("[server]\nlisten = \"here\"", "server.listen", "invalid socket address"),
        ("[limits]\nmemory_bytes = \"9GiB\"", "limits.memory_bytes", "more than `sandbox.max_memory_bytes`"),
        ("[sandbox]\nmax_memory_bytes = \"1MiB\"", "sandbox.max_memory_bytes", "less than `limits.memory_bytes`"),
        ("[sandbox]\ncompile_memory_bytes = \"1MiB\"", "sandbox.compile_memory_bytes", "needs 128MiB"),
        ("[sandbox]\ncompile_cpu_time = \"0s\"", "sandbox.compile_cpu_time", "1s or more"),
        ("[log]\nformat = \"xml\"", "log.format", "none of text, json"),
        ("[log]\nlevel = \"tradewind=loud\"", "log.level", "write for example info"),
    ] {
        let said = refusal(text);
        let start = format!("setting `{key}` from file tradewind.toml, line 2 cannot be used: ");
        assert!(said.starts_with(&start) && said.contains(reason), "{said}");
    }
    assert!(refusal("[worker\nslots = 0").contains("tradewind.toml"));
}

#[test]
fn a_secret_is_never_shown() {
    let sources = Sources { environment: environment(&[("TRADEWIND_TOKEN", "hush-hush")]), ..Sources::default() };
    let loaded = Loaded::from(&sources).expect("good settings");
    assert_eq!(loaded.settings.client.token.as_ref().map(Secret::expose), Some("hush-hush"));
    let shown = format!("{loaded:?} {}", serde_json::to_string(&loaded.settings).expect("settings are JSON"));
    assert!(!shown.contains("hush") && shown.contains("••••••"), "{shown}");
}

#[test]
fn variables_of_a_kubernetes_service_of_our_name_are_passed_over() {
    let links = [
        ("TRADEWIND_SERVICE_HOST", "10.0.0.1"),
        ("TRADEWIND_SERVICE_PORT_HTTP", "8080"),
        ("TRADEWIND_PORT", "tcp://10.0.0.1:8080"),
        ("TRADEWIND_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("TRADEWIND_UI_PORT", "tcp://10.0.0.1:80"),
    ];
    let sources = Sources { environment: environment(&links), ..Sources::default() };
    assert_eq!(Loaded::from(&sources).expect("ignored").settings, Settings::default());
    let sources = Sources { environment: environment(&[("TRADEWIND_PORT", "8080")]), ..Sources::default() };
    assert!(Loaded::from(&sources).is_err());
}
