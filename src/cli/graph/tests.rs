//! What the drawings promise: every task once, every line where it leads, and nothing that steers a terminal or a page.

mod dags;
mod follow;

use std::collections::BTreeSet;

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::*;
pub(super) use dags::{any_drawing, edges};

use dags::dag;

const ETL: &str = "
    extract @success =etl.extract
    parse *10 @success < extract
    choose ?branch @success < parse
    report @running < parse choose
    alert @skipped < choose
    load.stage @queued #load < report
    load.copy #load < load.stage
    load.check #load < load.stage
    notify < load.copy load.check alert";

const WAREHOUSE: &str = "
    create ?setup @success
    query_a @success < create
    query_b @failed < create
    query_c @running < create
    merge @upstream_failed < query_a query_b query_c
    export @upstream_failed < merge
    delete ?teardown < create merge export";

#[test]
fn a_pipeline_runs_to_the_right() {
    let text = terminal(&dag(ETL), 130, false, true);
    insta::assert_snapshot!(text, @r"
                                                                      ╭──▶ ○ alert ──────────────────────────────────╮
    ✔ extract (etl.extract) ─▶ ✔ parse [0..9] ─┬─▶ ✔ choose (branch) ─┴─┬▶ ● report ─▶ ◌ load.stage ─┬─▶ load.copy ──┼─▶ notify
                                               ╰────────────────────────╯                            ╰─▶ load.check ─╯

    ✔ success  ● running  ◌ queued  ○ skipped
    ");
}

#[test]
fn a_pipeline_too_long_for_the_width_runs_down() {
    let text = terminal(&dag(ETL), 60, false, true);
    insta::assert_snapshot!(text, @r"
       ✔ extract (etl.extract)
                  ▼
            ✔ parse [0..9]
            ╭─────┴────╮
            ▼          │
    ✔ choose (branch)  │
          ╭─┴─────╮ ╭──╯
          ▼       ▼ ▼
       ○ alert  ● report
          │        ▼
          │   ◌ load.stage
        ╭─╯    ╭───┴──────╮
        │      ▼          ▼
        │  load.copy  load.check
        ╰──────┴┬─────────╯
                ▼
              notify

    ✔ success  ● running  ◌ queued  ○ skipped
    ");
}

#[test]
fn setups_are_joined_with_their_teardowns() {
    let text = terminal(&dag(WAREHOUSE), 100, false, true);
    insta::assert_snapshot!(text, @r"
                      ╭─▶ ✔ query_a ─╮
    ✔ create (setup) ─┼─▶ ✘ query_b ─┼─▶ ⊘ merge ─┬─▶ ⊘ export ─╮
                      ├─▶ ● query_c ─╯            ╰─────────────┼─▶ delete (teardown)
                      ╰─────────────────────────────────────────╯

    ✔ success  ✘ failed  ⊘ upstream_failed  ● running
    ");
}

#[test]
fn ascii_is_enough() {
    let text = terminal(&dag(WAREHOUSE), 60, false, false);
    assert!(text.is_ascii());
    insta::assert_snapshot!(text, @r"
                + create (setup)
        +----------+---+------+------+
        v          v          v      |
    + query_a  x query_b  * query_c  |
        +----------+--+-------+      |
                      v              |
                   ! merge           |
                      +------+       |
                      v      |       |
                   ! export  |       |
                      +------+-------+
                             v
                     delete (teardown)

    + success  x failed  ! upstream_failed  * running
    ");
}

#[test]
fn a_chain_is_a_straight_line() {
    let text = terminal(&dag("first\n second < first\n third < second\n fourth < third"), 20, false, true);
    insta::assert_snapshot!(text, @r"
    first
      ▼
    second
      ▼
    third
      ▼
    fourth
    ");
}

#[test]
fn tasks_without_lines_stand_below() {
    let text = terminal(&dag("a\n b < a\n c < a\n d < b c\n lone_1\n lone_2\n lone_3\n e\n f < e"), 22, false, true);
    insta::assert_snapshot!(text, @r"
    a ─┬─▶ b ─┬─▶ d
       ╰─▶ c ─╯

    e ─▶ f

    lone_1  lone_2  lone_3
    ");
}

#[test]
fn lines_that_cross_do_not_touch() {
    let text = terminal(&dag("a\n b\n c\n d < a b\n e < b c\n f < a c\n g < d e f\n h < d e f"), 80, false, true);
    insta::assert_snapshot!(text, @r"
       ╭───┬▶ d ─╮
    a ─┤ ╭─╯     ├─▶ g
    b ─│─┤ ╭▶ f ─┼─▶ h
       ╰─│─┤     │
    c ─┬─│─╯     │
       │ ╰─┬▶ e ─╯
       ╰───╯
    ");
}

#[test]
fn what_is_too_large_to_draw_becomes_a_list() {
    let text = terminal(&dag(WAREHOUSE), 24, false, true);
    insta::assert_snapshot!(text, @r"
    ✔ create (setup)
      ✔ query_a ← create
      ✘ query_b ← create
      ● query_c ← create
        ⊘ merge ← 3 tasks
          ⊘ export
            delete (teardown)

    ✔ success  ✘ failed
    ⊘ upstream_failed
    ● running
    ");
}

#[test]
fn a_fan_of_a_hundred_has_a_hundred_lines() {
    let tasks: String = (0..100).map(|number| format!("work_{number} < start\n")).collect();
    let ends: String = (0..100).map(|number| format!("work_{number} ")).collect();
    let drawing = dag(&format!("start\n{tasks}end < {ends}"));
    let text = terminal(&drawing, 80, false, true);
    assert_eq!(text.lines().count(), 100);
    assert_eq!(follow::edges(&drawing, &text), edges(&drawing));
}

#[test]
fn a_pipeline_as_svg() {
    let picture = svg(&dag(ETL));
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("dag_graph_etl_svg", picture);
    });
}

#[test]
fn a_picture_has_its_colours_also_where_nobody_knows_variables() {
    let picture = svg(&dag(ETL));
    assert!(!picture.contains("var(") && !picture.contains("--"));
    let (light, dark) = picture.split_once("@media").expect("two schemes");
    for shape in [".page", "text", ".frame", ".line", ".tip", ".box", ".s0 .box", ".s0 .mark"] {
        assert!(light.contains(&format!("{shape}{{")) || light.contains(&format!("{shape},")), "{shape}");
        assert!(dark.contains(&format!("{shape}{{")) || dark.contains(&format!("{shape},")), "{shape}");
    }
}

#[test]
fn the_order_follows_the_lines_and_else_that_of_the_tasks() {
    let mut drawing = dag("extract\n report\n parse < extract\n load.copy < parse\n alone");
    drawing.tasks[1].upstream = vec![3];
    assert_eq!(drawing.order(), [0, 2, 3, 1, 4]);
}

#[test]
fn an_empty_drawing_is_no_trouble() {
    assert_eq!(terminal(&Drawing::default(), 80, true, true), "no tasks\n");
    assert!(svg(&Drawing::default()).ends_with("</svg>\n"));
}

#[test]
fn upstreams_that_cannot_be_are_left_out() {
    let mut drawing = dag("a\n b < a\n c < b");
    drawing.tasks[0].upstream = vec![0, 2, 99];
    drawing.tasks[1].upstream = vec![0, 0];
    assert_eq!(terminal(&drawing, 80, false, true), "a ─▶ b ─▶ c\n");
    svg(&drawing);
}

#[test]
fn labels_cannot_steer_the_terminal() {
    let mut drawing = dag("a\n b < a");
    drawing.tasks[1].label = Some("\u{1b}[2J\r\u{202e}日本\u{200b}\tx\ny".to_owned());
    let text = terminal(&drawing, 100, false, true);
    assert_eq!(text, "a ─▶ b (\\u{1b}[2J\\u{d}\\u{202e}日本 x\\ny)\n");
    assert!(terminal(&drawing, 100, false, false).is_ascii());
}

#[test]
fn a_long_id_is_cut_before_the_drawing_is_given_up() {
    let long = "a_name_".repeat(30);
    let text = terminal(&dag(&format!("{long}\n b < {long}")), 40, false, true);
    assert_eq!(text, "a_name_a_name_a_nam… ─▶ b\n");
}

#[test]
fn svg_text_is_escaped() {
    let mut drawing = dag("a #g<\"&'>");
    drawing.tasks[0].label = Some("</title><script>&\u{1b}\u{202e}".to_owned());
    drawing.tasks[0].id = "<b>".to_owned();
    let picture = svg(&drawing);
    assert!(!picture.contains("<script") && !picture.contains("<b>") && !picture.contains(['\u{1b}', '\u{202e}']));
    assert!(picture.contains("<title>&lt;b&gt;: &lt;/title&gt;&lt;script&gt;&amp;\u{fffd}\u{fffd}</title>"));
    assert!(picture.contains("<title>g&lt;&quot;&amp;&#39;&gt;</title>"));
}

#[test]
fn a_state_is_said_in_words_too() {
    let picture = svg(&dag(WAREHOUSE));
    for state in ["success", "failed", "running", "upstream_failed"] {
        assert!(picture.contains(&format!(">{state}</text>")), "{state}");
    }
    assert!(
        terminal(&dag(WAREHOUSE), 100, false, true).ends_with("✔ success  ✘ failed  ⊘ upstream_failed  ● running\n")
    );
}

#[test]
fn a_thousand_tasks_are_drawn_at_once() {
    let tasks = (0..1000_usize).map(|number| DrawnTask {
        id: format!("task_{number}"),
        upstream: (1..4).filter_map(|back| number.checked_sub(back * back * 7)).collect(),
        group: (number % 5 == 0).then(|| format!("group_{}", number / 100)),
        ..DrawnTask::default()
    });
    let drawing = Drawing { tasks: tasks.collect() };
    let picture = svg(&drawing);
    assert_eq!(picture.matches("<g class=\"task").count(), 1000);
    assert_eq!(terminal(&drawing, 80, false, true).lines().count(), 1000);
}

fn without_colour(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').unwrap().1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_line_leads_from_an_upstream_to_its_task(drawing in any_drawing(), width in 30_usize..140) {
        let text = terminal(&drawing, width, false, true);
        for line in text.lines() {
            prop_assert!(line.width() <= width, "{text}");
        }
        for task in &drawing.tasks {
            let words = text.lines().filter(|line| !line.contains('←')).flat_map(str::split_whitespace);
            let listed = text.lines().filter_map(|line| line.split_once(" ← ")).map(|(name, _)| name.trim());
            prop_assert_eq!(words.chain(listed).filter(|word| *word == task.id).count(), 1, "{}", text);
        }
        if !text.contains('←') {
            prop_assert_eq!(follow::edges(&drawing, &text), edges(&drawing), "{}", text);
        }
    }

    #[test]
    fn colours_change_nothing_else(drawing in any_drawing(), width in 0_usize..140, unicode: bool) {
        let mut drawing = drawing;
        for (number, task) in drawing.tasks.iter_mut().enumerate() {
            task.state = ["success", "failed", "running", "odd"].get(number % 5).map(|state| (*state).to_owned());
        }
        let plain = terminal(&drawing, width, false, unicode);
        prop_assert_eq!(&without_colour(&terminal(&drawing, width, true, unicode)), &plain);
        prop_assert!(unicode || plain.is_ascii());
    }

    #[test]
    fn the_same_dag_gives_the_same_picture(drawing in any_drawing()) {
        let picture = svg(&drawing);
        prop_assert_eq!(&svg(&drawing.clone()), &picture);
        for task in &drawing.tasks {
            prop_assert_eq!(picture.matches(&format!(">{}</text>", task.id)).count(), 1);
        }
        prop_assert_eq!(picture.matches("<g class=\"task").count(), drawing.tasks.len());
    }
}

#[test]
fn following_finds_a_line_that_is_not_in_the_dag() {
    let drawing = dag("a\n b < a\n c");
    let wrong = "a ─┬─▶ b\n   ╰─▶ c\n";
    assert_eq!(follow::edges(&drawing, wrong), BTreeSet::from([(0, 1), (0, 2)]));
}
