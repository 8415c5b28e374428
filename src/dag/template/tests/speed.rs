//! How fast it is.

use super::*;

/// `cargo test --release -- --ignored --nocapture speed`
#[test]
#[ignore = "a measurement"]
fn speed() {
    let each = |what: &str, run: &mut dyn FnMut()| {
        (0..1_000).for_each(|_| run());
        let start = std::time::Instant::now();
        let times = 50_000;
        (0..times).for_each(|_| run());
        println!("{what}: {:.2} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(times));
    };
    let scope = scope();
    let value = json!({"city": "{{ params.city }}", "x": "{{ tasks.a.output.n }}"});
    each("parse {city, x}", &mut || drop(std::hint::black_box(JsonTemplate::parse(&value).unwrap())));
    let template = JsonTemplate::parse(&value).unwrap();
    each("render {city, x}", &mut || drop(std::hint::black_box(template.render(&scope).unwrap())));
    each("render_text {city, x}", &mut || {
        drop(std::hint::black_box(template.render_text(&scope, Bounds::default()).unwrap()));
    });
    for text in ["s3://{{ params.city }}/{{ ds }}.csv", "{{ params.n + 1 }}", "{{ tasks.a.output.files | join(',') }}"]
    {
        each(&format!("parse {text}"), &mut || drop(std::hint::black_box(Template::parse(text).unwrap())));
        let template = Template::parse(text).unwrap();
        each(&format!("render {text}"), &mut || drop(std::hint::black_box(template.render(&scope).unwrap())));
        let other = Bounds { fuel: 50_000, ..Bounds::default() };
        each("  with other bounds", &mut || drop(std::hint::black_box(template.render_within(&scope, other).unwrap())));
    }
    each("Scope::of_run", &mut || drop(std::hint::black_box(Scope::of_run(run_small()))));
    let keys = json!({"file": "x.csv"});
    each("for_instance and with_keys", &mut || {
        let instance = Instance { id: None, task_id: "parse", map_index: 2, try_number: 1 };
        drop(std::hint::black_box(scope.for_instance(instance).with_keys(keys.as_object().unwrap())));
    });
}

fn run_small() -> Run<'static> {
    Run {
        dag_id: "d",
        run_id: "r",
        logical_date: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        data_interval_start: None,
        data_interval_end: None,
        params: Json::of(&json!({"city": "Ames"})).unwrap(),
        conf: Json::null(),
        variables: Arc::default(),
        outputs: BTreeMap::new(),
    }
}
