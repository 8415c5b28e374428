//! Compares the rules with what Airflow's own code answered, and with what its documentation says.

use super::*;

const TABLE: &str = include_str!("../trigger_rules.txt");

/// The cells `upstreams:answers` of one section of the table; in `[rules]` a blank stands for the colon.
fn section(name: &str) -> Vec<(&'static str, &'static str)> {
    let header = format!("[{name}]");
    let lines = TABLE.lines().skip_while(|line| *line != header).skip(1).take_while(|line| !line.starts_with('['));
    let cells = lines.filter(|line| !line.starts_with('#')).flat_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [upstreams, answers] if !answers.contains(':') => vec![(*upstreams, *answers)],
            cells => cells.iter().map(|cell| cell.split_once(':').expect("a cell has a colon")).collect(),
        }
    });
    cells.collect()
}

fn state(letter: char) -> TaskState {
    match letter.to_ascii_lowercase() {
        'p' => TaskState::Running,
        's' => TaskState::Success,
        'f' => TaskState::Failed,
        'u' => TaskState::UpstreamFailed,
        'k' => TaskState::Skipped,
        'r' => TaskState::Removed,
        _ => panic!("no state has the letter {letter}"),
    }
}

fn upstream(letters: &str) -> Upstream {
    let mut upstream = Upstream::default();
    for letter in letters.chars().filter(|letter| *letter != '-') {
        upstream.add(state(letter), letter.is_ascii_uppercase());
    }
    upstream
}

fn letter(verdict: Verdict) -> char {
    match verdict {
        Verdict::Wait => 'W',
        Verdict::Run => 'R',
        Verdict::Skip => 'S',
        Verdict::UpstreamFailed => 'U',
        Verdict::Removed => 'X',
    }
}

/// Every multiset of up to `most` of the letters, and the empty one as `-`.
fn multisets(letters: &str, most: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..most {
        let longer = |short: &String| {
            let from = short.chars().last().and_then(|last| letters.find(last)).unwrap_or(0);
            letters[from..].chars().map(|letter| format!("{short}{letter}")).collect::<Vec<_>>()
        };
        last = last.iter().flat_map(longer).collect();
        all.extend_from_slice(&last);
    }
    all[0] = "-".to_owned();
    all
}

#[test]
fn every_rule_answers_as_airflow_for_up_to_four_upstreams() {
    let table = section("rules");
    assert_eq!(table.iter().map(|(upstreams, _)| *upstreams).collect::<Vec<_>>(), multisets("psfukr", 4));
    for (upstreams, answers) in table {
        let ours: String = TriggerRule::ALL.iter().map(|rule| letter(rule.decide(&upstream(upstreams)))).collect();
        assert_eq!(ours, answers, "{upstreams}");
    }
}

#[test]
fn setups_among_the_upstreams_count_as_in_airflow() {
    let table = section("setups among the upstreams");
    let mut expected = multisets("psfukrPSFUKR", 3);
    expected.retain(|upstreams| upstreams.contains(|letter: char| letter.is_ascii_uppercase()));
    assert_eq!(table.iter().map(|(upstreams, _)| *upstreams).collect::<Vec<_>>(), expected);
    for (upstreams, answer) in table {
        let ours = letter(TriggerRule::AllDoneSetupSuccess.decide(&upstream(upstreams)));
        assert_eq!(ours.to_string(), answer, "{upstreams}");
        for rule in TriggerRule::ALL.iter().filter(|rule| **rule != TriggerRule::AllDoneSetupSuccess) {
            let plain = upstream(&upstreams.to_ascii_lowercase());
            assert_eq!(rule.decide(&upstream(upstreams)), rule.decide(&plain), "{rule} {upstreams}");
        }
    }
}

#[test]
fn setups_above_the_upstreams_constrain_as_in_airflow() {
    let table = section("setups above the upstreams");
    assert_eq!(table.iter().map(|(setups, _)| *setups).collect::<Vec<_>>(), multisets("psfukr", 4));
    for (setups, answers) in table {
        let indexes = [None, Some(0), Some(1), Some(2), Some(3)];
        let ours: String = indexes.map(|index| letter(setup_verdict(&upstream(setups), index))).iter().collect();
        assert_eq!(ours, answers, "{setups}");
    }
}

#[test]
fn rules_and_setups_together_decide_as_in_airflow() {
    let table = section("rules and setups");
    assert_eq!(table.len(), 6 * 7);
    for (both, answers) in table {
        let (upstreams, setups) = both.split_once('/').expect("upstreams/setups");
        let decide = |rule: &TriggerRule| rule.decide_in_setups(&upstream(upstreams), &upstream(setups), None);
        let ours: String = TriggerRule::ALL.iter().map(|rule| letter(decide(rule))).collect();
        assert_eq!(ours, answers, "{both}");
    }
}

#[test]
fn an_instance_that_lost_its_upstream_is_removed_as_in_airflow() {
    let table = section("mapped");
    let mut expected = multisets("psfukr", 4);
    expected.retain(|upstreams| upstreams.contains('r'));
    assert_eq!(table.iter().map(|(upstreams, _)| *upstreams).collect::<Vec<_>>(), expected);
    for (upstreams, answers) in table {
        let decide = |index| TriggerRule::AllSuccess.decide_instance(&upstream(upstreams), Some(index));
        let ours: String = (0..4).map(|index| letter(decide(index))).collect();
        assert_eq!(ours, answers, "{upstreams}");
        for rule in TriggerRule::ALL.iter().filter(|rule| **rule != TriggerRule::AllSuccess) {
            let counts = upstream(upstreams);
            assert_eq!(rule.decide_instance(&counts, Some(3)), rule.decide(&counts), "{rule} {upstreams}");
        }
    }
}

/// What Airflow's page on trigger rules says, as a condition on the states of upstreams that are all done.
///
/// The page does not speak of removed upstreams, and so they are left out.
fn documented(rule: TriggerRule, states: &[TaskState]) -> bool {
    use TaskState::*;
    let all = |wanted: &[TaskState]| states.iter().all(|state| wanted.contains(state));
    let some = |wanted: &[TaskState]| states.iter().any(|state| wanted.contains(state));
    match rule {
        TriggerRule::AllSuccess => all(&[Success]),
        TriggerRule::AllFailed => all(&[Failed, UpstreamFailed]),
        TriggerRule::AllDone => true,
        TriggerRule::AllDoneMinOneSuccess => some(&[Success]),
        // Not on the page, as no user sets it: without setups among the upstreams it is `all_done`.
        TriggerRule::AllDoneSetupSuccess => true,
        TriggerRule::OneSuccess => some(&[Success]),
        // The page says only "failed". The code, and we, count `upstream_failed`: see below.
        TriggerRule::OneFailed => some(&[Failed]),
        TriggerRule::OneDone => some(&[Success, Failed]),
        TriggerRule::NoneFailed => all(&[Success, Skipped]),
        TriggerRule::NoneSkipped => all(&[Success, Failed, UpstreamFailed]),
        TriggerRule::NoneFailedMinOneSuccess => all(&[Success, Skipped]) && some(&[Success]),
        TriggerRule::AllSkipped => all(&[Skipped]),
        TriggerRule::Always => true,
    }
}

/// Where Airflow's code does otherwise than its page; we follow the code, as users' DAGs are built on what happens.
fn code_differs(rule: TriggerRule, states: &[TaskState]) -> bool {
    let has = |state| states.contains(&state);
    match rule {
        // A task above the upstream failed: to the code that is a failure, as in `all_failed`.
        TriggerRule::OneFailed => has(TaskState::UpstreamFailed) && !has(TaskState::Failed),
        // The page lets the task run beside skipped upstreams ("all non-skipped ones are done"); the code holds that
        // a skipped upstream is not done, never will be, and skips the task.
        TriggerRule::AllDoneMinOneSuccess => has(TaskState::Skipped) && has(TaskState::Success),
        _ => false,
    }
}

#[test]
fn a_task_runs_when_the_documented_sentence_holds() {
    for letters in multisets("sfuk", 4).iter().skip(1) {
        let states: Vec<_> = letters.chars().map(state).collect();
        for &rule in TriggerRule::ALL {
            let runs = rule.decide(&upstream(letters)) == Verdict::Run;
            assert_eq!(runs, documented(rule, &states) != code_differs(rule, &states), "{rule} {letters}");
        }
    }
}

#[test]
fn a_task_without_upstreams_runs_at_once() {
    for rule in TriggerRule::ALL {
        let (none, pending) = (Upstream::default(), upstream("p"));
        assert_eq!(rule.decide(&none), Verdict::Run);
        assert_eq!(rule.decide_in_setups(&none, &pending, None), Verdict::Run);
        assert_eq!(rule.decide_teardown(&none, &pending, None), Verdict::Run);
    }
}

#[test]
fn only_a_removed_upstream_can_leave_a_task_waiting_for_ever() {
    for letters in multisets("sfukr", 4) {
        for rule in TriggerRule::ALL {
            let stuck = rule.decide(&upstream(&letters)) == Verdict::Wait;
            let expected = *rule == TriggerRule::AllSkipped
                && letters.contains('r')
                && letters.chars().all(|letter| matches!(letter, 'r' | 'k'));
            assert_eq!(stuck, expected, "{rule} {letters}");
        }
    }
}

#[test]
fn a_cancelled_upstream_counts_as_failed() {
    let mut cancelled = Upstream::default();
    cancelled.add(TaskState::Cancelled, false);
    assert_eq!(cancelled, upstream("f"));
}

#[test]
fn a_teardown_waits_for_the_tasks_between_its_setups_and_itself() {
    let rule = TriggerRule::AllDoneSetupSuccess;
    let verdicts = |upstreams: &str| {
        ["-", "pf", "sf", "uk", "kr"]
            .map(|scope| letter(rule.decide_teardown(&upstream(upstreams), &upstream(scope), None)))
    };
    assert_eq!(verdicts("Sf"), ['R', 'W', 'R', 'R', 'R']);
    // A rule that does not let it run is not held back by the scope.
    assert_eq!(verdicts("Ks"), ['S', 'S', 'S', 'S', 'S']);
    assert_eq!(verdicts("Fs"), ['U', 'U', 'U', 'U', 'U']);
    assert_eq!(verdicts("Sp"), ['W', 'W', 'W', 'W', 'W']);
}

#[test]
fn a_rule_has_one_text_form() {
    for &rule in TriggerRule::ALL {
        assert_eq!(rule.to_string().parse(), Ok(rule));
        assert_eq!(serde_json::to_string(&rule).unwrap(), format!("\"{rule}\""));
    }
    assert!("one_succes".parse::<TriggerRule>().unwrap_err().starts_with("`one_succes` is none of all_success, "));
}
