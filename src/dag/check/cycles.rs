//! Finds tasks that wait for each other in a circle.

use super::order::downstream;
use crate::dag::draft::{Read, Reader};

/// Beyond this, one more cycle tells nobody anything.
const MAX_CYCLES: usize = 100;
/// Of a longer cycle, the middle is left out.
const MAX_SHOWN: usize = 12;

/// Reports each edge that closes a cycle, with one cycle that it closes, and takes it out:
/// what is checked later sees a graph without cycles.
///
/// Follows the tasks from those that wait for nothing, in the order written, so that the
/// edge that closes a cycle is the one that points back in the file.
pub(super) fn find(reader: &mut Reader, read: &mut Read<'_>) {
    let downstream = downstream(&read.upstream);
    let mut seen = vec![Seen::Not; read.upstream.len()];
    let roots = (0..seen.len()).filter(|task| read.upstream[*task].is_empty());
    let starts: Vec<usize> = roots.chain(0..seen.len()).collect();
    let mut closing = Vec::new();
    for start in starts {
        if seen[start] != Seen::Not {
            continue;
        }
        seen[start] = Seen::OnPath;
        // The path from the start, and how far each task's downstream has been followed.
        let mut path = vec![(start, 0)];
        while let Some((task, followed)) = path.last_mut() {
            let Some(&next) = downstream[*task].get(*followed) else {
                seen[*task] = Seen::Done;
                path.pop();
                continue;
            };
            *followed += 1;
            match seen[next] {
                Seen::Not => {
                    seen[next] = Seen::OnPath;
                    path.push((next, 0));
                }
                Seen::OnPath => {
                    closing.push((*task, next));
                    if closing.len() <= MAX_CYCLES {
                        let cycle = path.iter().map(|(task, _)| *task).skip_while(|task| *task != next);
                        report(reader, read, &cycle.collect::<Vec<_>>());
                    }
                }
                Seen::Done => {}
            }
        }
    }
    for (from, to) in closing {
        read.upstream[to].retain(|link| link.task != from);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Not,
    OnPath,
    Done,
}

/// `cycle` in the order in which the tasks would run; the last is upstream of the first.
fn report(reader: &mut Reader, read: &Read<'_>, cycle: &[usize]) {
    let (first, last) = (cycle[0], cycle[cycle.len() - 1]);
    let link = read.upstream[first].iter().find(|link| link.task == last).expect("the edge is there");
    let name = |task: &usize| read.draft.tasks[*task].id.as_str();
    let mut shown: Vec<&str> = cycle.iter().map(name).collect();
    let between;
    if shown.len() > MAX_SHOWN {
        between = format!("({} more)", shown.len() - MAX_SHOWN);
        shown.splice(MAX_SHOWN / 2..cycle.len() - MAX_SHOWN / 2, [&*between]);
    }
    shown.push(name(&first));
    let message = format!("tasks wait for each other in a circle: {}", shown.join(" → "));
    let remedy =
        format!("remove one of these dependencies, for example that `{}` waits for `{}`", name(&first), name(&last));
    let spot = &read.references[link.reference].spot;
    reader.findings.add(spot.finding("cycle", message).remedy(remedy));
}
