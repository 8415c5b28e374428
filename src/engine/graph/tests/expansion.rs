//! Tasks and groups that are mapped.

use super::*;

#[test]
fn a_mapped_task_has_an_instance_for_each_element() {
    let draft = || Draft::new(&[("list", &[]), ("each", &["list"]), ("all", &["each"])]).mapped(&["each"], &["list"]);
    let play = draft().plays().list("each", 3).play();
    assert_eq!(play.states(), "all:success each[0]:success each[1]:success each[2]:success list:success | success");
    let play = draft().plays().list("each", 0).play();
    assert_eq!(play.states(), "all:skipped each:skipped list:success | success");
    let play = draft().plays().play();
    assert_eq!(play.states(), "all:upstream_failed each:failed list:success | failed");
    let play = draft().plays().list("each", 3).fails("each[1]").play();
    assert!(play.states().starts_with("all:upstream_failed each[0]:success each[1]:failed each[2]:success"));
    assert_eq!(play.run_state, RunState::Failed);
}

#[test]
fn no_more_instances_are_made_than_may_be_under_way() {
    let draft = |most| {
        Draft::new(&[("list", &[]), ("each", &["list"])])
            .mapped(&["each"], &["list"])
            .with("each", |node| node.max_active = most)
    };
    let play = draft(Some(2)).plays().list("each", 9).play();
    assert_eq!((play.most_at_once, play.run_state), (2, RunState::Success));
    // As many as the engine keeps open.
    let play = draft(None).plays().list("each", 9).play();
    assert_eq!((play.most_at_once, play.run_state), (4, RunState::Success));
}

#[test]
fn each_instance_of_a_mapped_group_goes_its_own_way() {
    let draft = Draft::new(&[("list", &[]), ("first", &[]), ("second", &["first"]), ("all", &["second"])])
        .mapped(&["first", "second"], &["list"])
        .rule("all", TriggerRule::AllDone);
    let play = draft.plays().list("first", 2).fails("first[1]").play();
    assert_eq!(
        play.states(),
        "all:success first[0]:success first[1]:failed list:success second[0]:success second[1]:upstream_failed | success"
    );
}

#[test]
fn large_elements_are_asked_for_when_there_is_room_for_them() {
    let draft = Draft::new(&[("list", &[]), ("each", &["list"])]).mapped(&["each"], &["list"]);
    let mut play = draft.plays().list("each", 30);
    play.element = Json::of(&"x".repeat(15 << 20)).expect("a text");
    let play = play.play();
    assert_eq!((play.states.len(), play.run_state), (31, RunState::Success));
    // What is asked for at two elements, and the three of one answer. By number alone there would be more.
    assert_eq!(play.most_bytes, 5 * play.element.as_str().len());
}

#[test]
fn instances_whose_elements_cannot_be_had_any_more_fail_and_the_others_do_not() {
    let draft = Draft::new(&[("list", &[]), ("first", &[]), ("second", &["first"]), ("all", &["second"])])
        .mapped(&["first", "second"], &["list"])
        .rule("second", TriggerRule::AllDone)
        .rule("all", TriggerRule::AllDone);
    let mut play = draft.plays().list("first", 20);
    play.lost_from = 5;
    let play = play.play();
    let all =
        |name: &str| -> Vec<&str> { (0..20).map(|index| play.states[&format!("{name}[{index}]")].as_str()).collect() };
    let expected = [["success"; 5].as_slice(), &["failed"; 15]].concat();
    assert_eq!((all("first"), all("second")), (expected.clone(), expected));
    assert_eq!(play.errors.len(), 30);
    assert!(play.errors.values().all(|error| error == "the list is gone"), "{:?}", play.errors);
    assert_eq!((play.states["all"], play.run_state), (TaskState::Success, RunState::Success));
    assert!(!play.started.iter().any(|name| name.ends_with("[5]")), "{}", play.started());
}
