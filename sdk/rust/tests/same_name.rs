//! Two tasks of one name in one module.

use tradewind_sdk::{task, testing};

#[task]
fn load() {}

#[task(name = "load")]
fn load_again() {}

#[test]
#[should_panic(expected = "two tasks have the name `load`; rename one with #[task(name = \"…\")]")]
fn two_tasks_of_one_name_come_to_light_when_the_tasks_are_listed() {
    testing::list_tasks();
}
