//! Counts the core's allocations: a program of its own, since the counting allocator would slow down what is timed.

use waypost_benches::core::Core;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rules = arguments.next().unwrap_or_default().parse()?;
    let reviews = arguments.map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let mut compiled = None;
    let compiling = allocation_counter::measure(|| compiled = Some(Core::new(rules, reviews)));
    let core = compiled.expect("it was made on the line before")?;
    let count = |work: &dyn Fn() -> usize| {
        // What is allocated once only is not counted.
        let things = work();
        let counted = allocation_counter::measure(|| {
            work();
        });
        counted.count_total as f64 / things as f64
    };
    let mebibytes = |bytes: f64| bytes / f64::from(1 << 20);
    println!(
        "{} {} {} {}",
        count(&|| core.decide()),
        count(&|| core.respond()),
        mebibytes(compiling.bytes_current as f64),
        mebibytes(compiling.bytes_max as f64)
    );
    Ok(())
}
