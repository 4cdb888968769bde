//! A long-running service: hundreds of resyncs, with reloads, replaced plugins and outages of Port in between.
//! Memory, files, threads and the state directory must not grow, and the catalog must stay the same.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    process::{self, ask},
    profile::{Profile, S},
    report::{Row, Table, Target},
    stage::{INTEGRATION, Place, Programs, Stage},
};

/// How long one resync may take, an outage of Port included.
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(100);
/// The plugin that is exchanged.
const EXCHANGED: &str = "ec2-instance.wasm";
/// How much more there may be at the end than after the first fifth.
const RESIDENT_MIB: f64 = 12.0;
const FILES: f64 = 4.0;
const THREADS: f64 = 2.0;
const STATE_RATIO: f64 = 1.25;

/// What happens before a resync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A file of settings changes, and SIGHUP says so.
    Reload,
    /// The file of a plugin is replaced by another version.
    Exchange,
    /// Port answers 502 for a while, and then breaks connections.
    Outage,
}

impl Event {
    fn before(resync: u32) -> Option<Self> {
        match resync {
            _ if resync % 10 == 3 => Some(Self::Reload),
            _ if resync % 25 == 7 => Some(Self::Exchange),
            _ if resync % 20 == 11 => Some(Self::Outage),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Reload => "reloads",
            Self::Exchange => "exchanged plugins",
            Self::Outage => "outages of Port",
        }
    }
}

/// What the service held after a resync.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sample {
    resident_mib: f64,
    files: f64,
    threads: f64,
    state_kib: f64,
    seconds: f64,
}

/// Runs so many resyncs, and gives the table.
pub(crate) fn run(programs: &Programs, resyncs: u32, progress: fn(&str)) -> Result<Table> {
    ensure!(resyncs >= 10, "ten resyncs are the least that show anything");
    let stage = Stage::start(programs, Profile { name: "soak", resources: 10, ..S })?;
    let mut service = Service::start(&stage, programs)?;
    let mut events: BTreeMap<Event, u32> = BTreeMap::new();
    let mut samples = Vec::new();
    let mut first = None;
    for resync in 1..=resyncs {
        if let Some(event) = Event::before(resync) {
            service.meet(event, resync)?;
            *events.entry(event).or_default() += 1;
        }
        let begun = Instant::now();
        service.resync().with_context(|| format!("resync {resync}"))?;
        samples.push(service.sample(begun.elapsed())?);
        // The stand-in keeps what it was asked.
        service.place.port.request("DELETE", "/_stand-in/requests")?;
        let entities = service.place.port.get("/_stand-in/digests")?;
        let before = first.get_or_insert_with(|| entities.clone());
        ensure!(
            *before == entities,
            "after resync {resync} the catalog is another:\n{entities}\nnot\n{before}"
        );
        if resync % (resyncs / 10) == 0 {
            progress(&format!("{resync} of {resyncs} resyncs: {:?}", samples[samples.len() - 1]));
        }
    }
    let outcomes = service.outcomes()?;
    service.end()?;
    Ok(table(&samples, &events, &outcomes))
}

fn table(samples: &[Sample], events: &BTreeMap<Event, u32>, outcomes: &BTreeMap<String, u64>) -> Table {
    let mut table = Table::new(
        format!("Soak: {} resyncs of one process", samples.len()),
        &["after resync", "resident memory, MiB", "open files", "threads", "state directory, KiB", "seconds"],
    );
    let step = (samples.len() / 10).max(1);
    for number in (step..=samples.len()).step_by(step) {
        let Sample { resident_mib, files, threads, state_kib, seconds } = samples[number - 1];
        table.row(Row::plain([
            number.to_string(),
            format!("{resident_mib:.1}"),
            format!("{files:.0}"),
            format!("{threads:.0}"),
            format!("{state_kib:.0}"),
            format!("{seconds:.2}"),
        ]));
    }
    let count = |(event, count): (&Event, &u32)| format!("{}: {count}", event.name());
    table.note(format!("In between: {}.", events.iter().map(count).collect::<Vec<_>>().join(", ")));
    let ended = outcomes.iter().map(|(outcome, count)| format!("{outcome}: {count}"));
    table.note(format!("How they ended: {}.", ended.collect::<Vec<_>>().join(", ")));
    // Medians of a tenth each: one sample may meet a resync of live data or a reload.
    let early = &samples[samples.len() / 5..=samples.len() * 3 / 10];
    let late = &samples[samples.len() * 9 / 10..];
    let grown = |of: fn(&Sample) -> f64| middle(late, of) - middle(early, of);
    let more = |what: &str, most: f64, measured: f64| {
        Target::at_most(format!("soak: {what} more than after the first fifth"), most, measured).required()
    };
    table.target(more("MiB", RESIDENT_MIB, grown(|sample| sample.resident_mib)));
    table.target(more("open files", FILES, grown(|sample| sample.files)));
    table.target(more("threads", THREADS, grown(|sample| sample.threads)));
    let ratio = middle(late, |sample| sample.state_kib) / middle(early, |sample| sample.state_kib);
    table.target(Target::at_most("soak: state ÷ that after the first fifth", STATE_RATIO, ratio).required());
    table
}

fn middle(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    crate::clock::median(samples.iter().map(of).collect())
}

/// `berth run`, and where it writes.
struct Service {
    process: Child,
    authority: String,
    place: Place,
    plugins: PathBuf,
    /// The exchanged plugin as it was at first.
    plugin: Vec<u8>,
}

impl Service {
    fn start(stage: &Stage<'_>, programs: &Programs) -> Result<Self> {
        let place = stage.place()?;
        let plugins = place.directory().join("plugins");
        fs::create_dir(&plugins)?;
        for file in fs::read_dir(&programs.components)? {
            let file = file?.path();
            if let Some(name) = file.file_name().filter(|_| file.is_file()) {
                fs::copy(&file, plugins.join(name)).with_context(|| file.display().to_string())?;
            }
        }
        let plugin = fs::read(plugins.join(EXCHANGED))?;
        // Nobody takes it in the moment until the service does.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = stage.service(&place, &plugins);
        command.env("APPLICATION__PORT", port.to_string()).stderr(place.log()?);
        let process = command.spawn().context("the service does not start")?;
        let mut service = Self { process, authority: format!("127.0.0.1:{port}"), place, plugins, plugin };
        // The first resync begins by itself.
        service.wait_for(1)?;
        Ok(service)
    }

    fn meet(&mut self, event: Event, resync: u32) -> Result<()> {
        match event {
            Event::Reload => {
                let file = self.place.directory().join("berth.toml");
                let text = fs::read_to_string(&file)?;
                let (settings, _) = text.split_once("\n#").unwrap_or((text.trim_end(), ""));
                replace(&file, format!("{settings}\n# as of resync {resync}\n").as_bytes())?;
                process::signal(&self.process, Signal::HUP)
            }
            Event::Exchange => {
                // A custom section, which changes nothing but the digest.
                let mut other = self.plugin.clone();
                let section = [[1, b'n'].as_slice(), resync.to_string().as_bytes()].concat();
                other.extend([0, u8::try_from(section.len())?]);
                other.extend(section);
                replace(&self.plugins.join(EXCHANGED), &other)
            }
            Event::Outage => {
                let port = &self.place.port;
                port.post("/_stand-in/faults", &json!({"route": "", "times": 4, "status": 502}))?;
                port.post("/_stand-in/faults", &json!({"route": "", "times": 2, "drop": true}))?;
                Ok(())
            }
        }
    }

    /// Has a resync asked for at Port, and waits for its end.
    fn resync(&mut self) -> Result<()> {
        let ended: u64 = self.outcomes()?.values().sum();
        self.place.port.post(&format!("/_stand-in/integrations/{INTEGRATION}/resync"), &json!({}))?;
        self.wait_for(ended + 1)
    }

    fn wait_for(&mut self, resyncs: u64) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("the service has ended with {status}\n{}", self.place.complaint());
            }
            if self.outcomes().is_ok_and(|ended| ended.values().sum::<u64>() >= resyncs) {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "no resync ended in time\n{}", self.place.complaint());
            std::thread::sleep(LOOK);
        }
    }

    /// How many resyncs have ended, by how.
    fn outcomes(&self) -> Result<BTreeMap<String, u64>> {
        Ok(outcomes(&ask(&self.authority, "GET", "/metrics", "")?))
    }

    fn sample(&self, took: Duration) -> Result<Sample> {
        let folder = PathBuf::from(format!("/proc/{}", self.process.id()));
        let status = fs::read_to_string(folder.join("status"))?;
        #[expect(clippy::cast_precision_loss, reason = "a size, and a count")]
        let value = |name: &str| {
            process::number(&status, name)
                .map(|value| value as f64)
                .with_context(|| format!("no {name} in /proc"))
        };
        Ok(Sample {
            resident_mib: value("VmRSS")? / 1024.0,
            threads: value("Threads")?,
            #[expect(clippy::cast_precision_loss, reason = "a count")]
            files: fs::read_dir(folder.join("fd"))?.count() as f64,
            #[expect(clippy::cast_precision_loss, reason = "a size")]
            state_kib: size(&self.place.remembered())? as f64 / 1024.0,
            seconds: took.as_secs_f64(),
        })
    }

    fn end(mut self) -> Result<()> {
        process::end(&mut self.process)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Resyncs by outcome, from the page for Prometheus.
fn outcomes(page: &str) -> BTreeMap<String, u64> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("berth_resyncs_total{outcome=\""));
    lines
        .filter_map(|line| {
            let (outcome, count) = line.split_once("\"}")?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            Some((outcome.to_owned(), count.trim().parse::<f64>().ok()? as u64))
        })
        .collect()
}

/// By way of a second file, so that nobody reads half of it.
fn replace(file: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = file.with_extension("new");
    fs::write(&fresh, bytes)?;
    Ok(fs::rename(fresh, file)?)
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let data = entry.metadata()?;
        bytes += if data.is_dir() { size(&entry.path())? } else { data.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read_as_the_page_writes_them() {
        let page = "# TYPE berth_resyncs counter\nberth_resyncs_total{outcome=\"complete\"} 7\n\
                    berth_resyncs_total{outcome=\"partial\"} 2.0\nberth_resync_running 0\n";
        assert_eq!(outcomes(page), [("complete".to_owned(), 7), ("partial".to_owned(), 2)].into());
    }

    #[test]
    fn growth_is_missed_and_noise_is_not() {
        let samples = |grown: f64| -> Vec<Sample> {
            (0..100_u32)
                .map(|resync| Sample {
                    resident_mib: 60.0 + f64::from(resync) * grown + f64::from(resync % 3),
                    files: 20.0,
                    threads: 9.0,
                    state_kib: 100.0,
                    seconds: 1.0,
                })
                .collect()
        };
        let missed = |grown: f64| {
            let table = table(&samples(grown), &BTreeMap::new(), &BTreeMap::new());
            table.targets().filter(|target| !target.is_reached()).count()
        };
        assert_eq!((missed(0.0), missed(1.0)), (0, 1));
    }

    #[test]
    fn everything_happens_in_fifty_resyncs() {
        let met: std::collections::BTreeSet<Event> = (1..=50).filter_map(Event::before).collect();
        assert_eq!(met.len(), 3);
    }
}
