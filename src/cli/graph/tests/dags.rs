//! DAGs written in a line a task: `id *instances ?kind @state =label #group < upstream upstream`.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::cli::graph::{Drawing, DrawnTask, Kind};

pub(super) fn dag(text: &str) -> Drawing {
    let mut tasks: Vec<DrawnTask> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (own, upstream) = line.split_once(" < ").unwrap_or((line, ""));
        let mut words = own.split_whitespace();
        let mut task = DrawnTask { id: words.next().unwrap().to_owned(), ..DrawnTask::default() };
        for word in words {
            match word.split_at(1) {
                ("*", count) => task.kind = Kind::Mapped(count.parse().ok()),
                ("?", "branch") => task.kind = Kind::Branch,
                ("?", "setup") => task.kind = Kind::Setup,
                ("?", "teardown") => task.kind = Kind::Teardown,
                ("@", state) => task.state = Some(state.to_owned()),
                ("=", label) => task.label = Some(label.to_owned()),
                ("#", group) => task.group = Some(group.to_owned()),
                _ => panic!("{word}"),
            }
        }
        let number = |id: &str| tasks.iter().position(|task| task.id == id).expect("upstreams come first");
        task.upstream = upstream.split_whitespace().map(number).collect();
        tasks.push(task);
    }
    Drawing { tasks }
}

pub(in crate::cli::graph) fn edges(drawing: &Drawing) -> BTreeSet<(usize, usize)> {
    let of_task = |(task, drawn): (usize, &DrawnTask)| {
        drawn.upstream.iter().map(|&upstream| (upstream, task)).collect::<Vec<_>>()
    };
    drawing.tasks.iter().enumerate().flat_map(of_task).collect()
}

/// Up to fourteen tasks with ids of several lengths, from few lines to many, some in groups within groups.
pub(in crate::cli::graph) fn any_drawing() -> impl Strategy<Value = Drawing> {
    let task = |number: usize| {
        (
            prop::collection::vec(0_u8..100, number),
            prop::option::of(prop::sample::select(vec!["g", "g.h", "g.h.i", "k"])),
        )
    };
    (1_usize..14, 5_u8..70).prop_flat_map(move |(count, dense)| {
        (0..count).map(task).collect::<Vec<_>>().prop_map(move |tasks| {
            let drawn = |(number, (chances, group)): (usize, (Vec<u8>, Option<&str>))| DrawnTask {
                id: format!("t{}{number}", "_".repeat(number * 5 % 9)),
                upstream: (0..number).filter(|&upstream| chances[upstream] < dense).collect(),
                group: group.map(str::to_owned),
                ..DrawnTask::default()
            };
            Drawing { tasks: tasks.into_iter().enumerate().map(drawn).collect() }
        })
    })
}
