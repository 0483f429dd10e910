//! Plays scenarios: all of them, those whose name contains a word, or one with everything that is to be said of it.

use std::error::Error;
use std::process::ExitCode;

use scenarios::{Scenario, all};

const USAGE: &str = "scenarios [FILTER]          play them, and compare with what is recorded\n\
    scenarios list [FILTER]     what each is about\n\
    scenarios show NAME         its events and the verdict\n\
    scenarios --bless [FILTER]  record what comes of them";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match *arguments.as_slice() {
        [] => play(""),
        ["list"] => list(""),
        ["list", filter] => list(filter),
        ["show", name] => show(name),
        ["show"] => Err("show wants the name of a scenario; `list` names them all".into()),
        ["--bless"] => bless(""),
        ["--bless", filter] => bless(filter),
        [filter] if !filter.starts_with('-') => play(filter),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("scenarios: {error}");
            ExitCode::FAILURE
        }
    }
}

type Done = Result<bool, Box<dyn Error>>;

fn selected(filter: &str) -> Result<Vec<Scenario>, Box<dyn Error>> {
    let scenarios = all(filter)?;
    if scenarios.is_empty() {
        return Err(format!("no scenario's name contains `{filter}`; `list` names them all").into());
    }
    Ok(scenarios)
}

fn play(filter: &str) -> Done {
    let (mut passed, mut failed) = (0, 0);
    for scenario in selected(filter)? {
        let outcome = scenario.play()?;
        let verdict = outcome.first().map_or("", String::as_str);
        if outcome == scenario.recorded && scenario.suits(&outcome) {
            passed += 1;
            println!("ok    {:24} {verdict}", scenario.name);
        } else {
            failed += 1;
            println!("FAIL  {:24} {verdict}", scenario.name);
            println!("  came out:\n    {}", outcome.join("\n    "));
            println!("  recorded:\n    {}", scenario.recorded.join("\n    "));
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn list(filter: &str) -> Done {
    for scenario in selected(filter)? {
        println!("{:24} {}", scenario.name, scenario.comment);
    }
    Ok(true)
}

fn show(name: &str) -> Done {
    let scenarios = selected(name)?;
    let exact = scenarios.iter().find(|scenario| scenario.name == name);
    let scenario = match (exact, scenarios.as_slice()) {
        (Some(scenario), _) | (None, [scenario]) => scenario,
        (None, several) => {
            let names: Vec<_> = several.iter().map(|scenario| scenario.name.as_str()).collect();
            return Err(format!("`{name}` may be {}", names.join(", ")).into());
        }
    };
    println!("{}: {}\n", scenario.rule, scenario.rule.text());
    for (index, line) in scenario.text.lines().enumerate() {
        println!("{:4}  {line}", index + 1);
    }
    println!();
    for line in scenario.play()? {
        println!("      {line}");
    }
    Ok(true)
}

fn bless(filter: &str) -> Done {
    let mut good = true;
    for scenario in selected(filter)? {
        let outcome = scenario.play()?;
        if !scenario.suits(&outcome) {
            good = false;
            println!("not recorded: {} came out as\n    {}", scenario.name, outcome.join("\n    "));
        } else if outcome != scenario.recorded {
            scenario.bless(&outcome)?;
            println!("recorded: {}", scenario.name);
        }
    }
    Ok(good)
}
