//! Prints the known defects, one a line, as a program can read them: name, number, rule, test and text with tabs between.

fn main() {
    for about in mmu::mutant::Mutant::ALL.iter().map(|mutant| mutant.about()) {
        println!("{}\t{}\t{}\t{}\t{}", about.name, about.number, about.rule, about.test, about.text);
    }
}
