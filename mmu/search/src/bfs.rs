//! Breadth first, so that no way to a hazard is shorter than the one that is found.

use std::collections::HashSet;

use crate::adversary::Action;
use crate::hazard::{self, Hazard};
use crate::machine::{Machine, State};

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// States that were reached; all there are, if no hazard is among them.
    pub states: usize,
    /// A hazard and the shortest way to it, if one can be reached.
    pub found: Option<(Hazard, Vec<Action>)>,
}

struct Node {
    state: State,
    /// Which node it was reached from first, and how.
    from: Option<(u32, Action)>,
}

/// Searches every interleaving, where the program on CPU 1 uses `count` pages of the block: any so many.
pub fn search(machine: &Machine, count: u32) -> Outcome {
    let sets = (0..1 << machine.pages).filter(|used: &u8| used.count_ones() == count);
    let mut nodes: Vec<Node> = sets.map(|used| Node { state: machine.start(used), from: None }).collect();
    let mut known: HashSet<State> = nodes.iter().map(|node| node.state).collect();
    let mut next = 0;
    while next < nodes.len() {
        let state = nodes[next].state;
        if hazard::lost_dirty(&state, !machine.is_finished(&state)) {
            return Outcome { states: nodes.len(), found: Some((Hazard::LostDirty, way(&nodes, next))) };
        }
        let mut found = None;
        machine.successors(&state, &mut |action, result| match result {
            Ok(reached) if reached != state && known.insert(reached) => {
                nodes.push(Node { state: reached, from: Some((next as u32, action)) });
            }
            Ok(_) => {}
            Err(hazard) => found = found.or(Some((hazard, action))),
        });
        if let Some((hazard, last)) = found {
            let mut actions = way(&nodes, next);
            actions.push(last);
            return Outcome { states: nodes.len(), found: Some((hazard, actions)) };
        }
        next += 1;
    }
    Outcome { states: nodes.len(), found: None }
}

fn way(nodes: &[Node], last: usize) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut at = last;
    while let Some((parent, action)) = nodes[at].from {
        actions.push(action);
        at = parent as usize;
    }
    actions.reverse();
    actions
}
