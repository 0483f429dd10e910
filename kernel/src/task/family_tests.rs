//! Tests of who is whose child.

use super::*;

const MOST: usize = 16;

fn family() -> Family<Pid> {
    let mut family = Family::new();
    assert_eq!(family.found(|pid| pid), FIRST);
    family
}

fn child(family: &mut Family<Pid>, parent: Pid) -> Pid {
    family.add_child(parent, MOST, |pid| pid).unwrap()
}

#[test]
fn a_child_is_asked_for_once() {
    let mut family = family();
    let one = child(&mut family, FIRST);
    let two = child(&mut family, FIRST);
    assert_eq!(family.ask_for(FIRST, Which::Any, false), Ok(None));
    let bereaved = family.end(two, ExitStatus::Exited(7), true);
    assert_eq!((bereaved.parent, bereaved.first), (Some(FIRST), None));
    assert_eq!(family.ask_for(FIRST, Which::Child(one), false), Ok(None));
    assert_eq!(family.ask_for(FIRST, Which::Any, true), Ok(Some((two, ExitStatus::Exited(7)))));
    assert_eq!(family.ask_for(FIRST, Which::Any, false), Ok(Some((two, ExitStatus::Exited(7)))));
    assert_eq!(family.ask_for(FIRST, Which::Child(two), false), Err(Errno::ECHILD));
    assert_eq!(family.ask_for(one, Which::Any, false), Err(Errno::ECHILD));
    family.end(one, ExitStatus::Exited(0), false);
    assert_eq!(family.ask_for(FIRST, Which::Any, false), Err(Errno::ECHILD));
}

#[test]
fn orphans_become_the_firsts() {
    let mut family = family();
    let middle = child(&mut family, FIRST);
    let (living, ended) = (child(&mut family, middle), child(&mut family, middle));
    family.end(ended, ExitStatus::Exited(1), true);
    assert_eq!(family.end(middle, ExitStatus::Exited(2), true).first, Some(FIRST));
    assert_eq!(family.parent(living), FIRST);
    let found = |family: &mut Family<Pid>| family.ask_for(FIRST, Which::Any, false).unwrap().map(|found| found.0);
    assert_eq!([found(&mut family), found(&mut family), found(&mut family)], [Some(middle), Some(ended), None]);
}

#[test]
fn there_is_an_end_to_it() {
    let mut family = family();
    for _ in 1..MOST {
        child(&mut family, FIRST);
    }
    assert_eq!(family.add_child(FIRST, MOST, |pid| pid), Err(Errno::EAGAIN));
    assert_eq!((family.count(), family.alive().len()), (MOST, MOST));
    assert_eq!(family.add_child(FIRST + 999, MOST + 1, |pid| pid), Err(Errno::EAGAIN));
    family.end(FIRST, ExitStatus::Exited(0), true);
    assert_eq!(family.add_child(FIRST + 1, MOST + 1, |pid| pid), Err(Errno::EAGAIN), "the first has ended");
    assert_eq!(family.ask_for(NOBODY, Which::Child(FIRST), false), Ok(Some((FIRST, ExitStatus::Exited(0)))));
}

#[test]
fn numbers_come_again_when_nobody_has_them() {
    let mut family = family();
    let group = child(&mut family, FIRST);
    let member = child(&mut family, FIRST);
    assert_eq!(family.set_group(FIRST, group, group), Ok(()));
    assert_eq!(family.set_group(FIRST, member, group), Ok(()));
    family.forget(group);
    // The group still has a member, so no new process may have its number.
    family.next = group;
    assert_eq!(child(&mut family, FIRST), member + 1);
    family.next = PID_MAX - 1;
    assert_eq!([child(&mut family, FIRST), child(&mut family, FIRST)], [PID_MAX - 1, member + 2]);
}

#[test]
fn groups_and_sessions() {
    let mut family = family();
    let (one, two) = (child(&mut family, FIRST), child(&mut family, FIRST));
    assert_eq!(family.group(one), Ok(FIRST));
    assert_eq!(family.set_group(FIRST, one, one), Ok(()));
    assert_eq!(family.set_group(FIRST, two, one), Ok(()));
    assert_eq!(family.alive_in(one), [one, two]);
    assert_eq!(family.set_group(FIRST, two, 12345), Err(Errno::EPERM));
    assert_eq!(family.set_group(one, two, one), Err(Errno::ESRCH));
    assert_eq!(family.new_session(one), Err(Errno::EPERM), "it leads a group");
    assert_eq!(family.new_session(two), Ok(two));
    assert_eq!((family.session(two), family.group(two)), (Ok(two), Ok(two)));
    assert_eq!(family.set_group(FIRST, two, FIRST), Err(Errno::EPERM), "of another session");
    family.note_execution(one);
    assert_eq!(family.set_group(FIRST, one, FIRST), Err(Errno::EACCES));
    assert_eq!(family.set_group(one, one, FIRST), Ok(()));
    assert_eq!(family.group(999), Err(Errno::ESRCH));
}

#[test]
fn threads_have_numbers_and_a_bound() {
    let mut family = family();
    let process = child(&mut family, FIRST);
    let thread = family.add_thread(process, MOST).unwrap();
    assert!(thread != process && thread != FIRST);
    assert_eq!(
        [FIRST, process, thread, 999].map(|number| family.with_thread(number)),
        [Some(FIRST), Some(process), Some(process), None]
    );
    assert_eq!((family.get(thread), family.exists(thread)), (None, false), "no process");
    family.next = thread;
    assert_ne!(child(&mut family, FIRST), thread);
    // The first is a thread too.
    for _ in 2..MOST / 2 {
        family.add_thread(process, MOST).unwrap();
    }
    assert_eq!(family.add_thread(process, MOST), Err(Errno::EAGAIN));
    while family.count() < MOST {
        child(&mut family, FIRST);
    }
    assert_eq!(family.add_thread(FIRST, MOST), Err(Errno::EAGAIN));
    assert_eq!(family.add_child(FIRST, MOST, |pid| pid), Err(Errno::EAGAIN));
    family.forget_thread(thread);
    assert_eq!(family.with_thread(thread), None);
    assert!(family.add_thread(FIRST, MOST).is_ok());
}

#[test]
fn no_thread_outlives_its_process() {
    let mut family = family();
    let process = child(&mut family, FIRST);
    let before = family.count();
    let thread = family.add_thread(process, MOST).unwrap();
    // The first thread has ended before this one: nobody forgets it but who forgets the process.
    family.end(process, ExitStatus::Exited(0), true);
    assert_eq!((family.count(), family.with_thread(thread)), (before, None));
}
