//! Runs many scenarios. `BERTH_SIMULATION_SEED` and `BERTH_SIMULATION_CASES` say which.

fn main() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("BERTH_SIMULATION_SEED").unwrap_or(1);
    let cases = number("BERTH_SIMULATION_CASES").unwrap_or(20);
    for case in 0..cases {
        let s = berth_simulation::scenario::Scenario::of(seed + case);
        let t = std::time::Instant::now();
        let a = berth_simulation::run(&s, std::env::var("BERTH_SIMULATION_TRACE").is_ok());
        println!("{} {:?} {:?} {} {:?}", seed + case, t.elapsed(), a.violations, &a.digest[..a.digest.len().min(8)], a.counts);
        if let Some(told) = a.told { println!("{told}"); }
    }
}
