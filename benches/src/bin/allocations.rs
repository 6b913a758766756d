//! Counts the core's allocations: a program of its own, since the counting allocator would slow down what is timed.

use waypost_benches::{core::Core, pushes};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_default();
    if first == "pushes" {
        let count = arguments.next().unwrap_or_default().parse()?;
        let pushed = pushes::made_up(0..count);
        let mut index = None;
        let building = allocation_counter::measure(|| index = Some(pushes::index_of(&pushed)));
        let index = index.expect("it was made on the line before");
        let each = |bytes: f64| bytes / index.len() as f64;
        println!(
            "{} {}",
            each(building.bytes_current as f64),
            each(building.bytes_max as f64)
        );
        return Ok(());
    }
    let rules = first.parse()?;
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
