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
/// The plugin that is replaced.
const REPLACED: &str = "ec2-instance.wasm";
/// From this many resyncs on, reloads and replaced plugins are in most tenths of the second half.
const FEWEST: u32 = 500;
/// How much a resync of the second half may add to the memory, in most tenths of it. The allocator has an arena
/// for each of several threads and keeps what was freed, so memory rises in some steps to a plateau. A leak with
/// each resync, reload or replaced plugin rises in every tenth.
const KIB_PER_RESYNC: f64 = 3.0;
/// How much more there may be at the end than after the first fifth: also bounds what the allocator keeps.
const RESIDENT_MIB: f64 = 24.0;
const FILES: f64 = 4.0;
const THREADS: f64 = 2.0;
const STATE_RATIO: f64 = 1.25;

/// What happens before a resync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A settings file changes, followed by SIGHUP.
    Reload,
    /// Another version replaces the file of a plugin.
    Replace,
    /// Port responds with 502 for a while, and then closes connections.
    Outage,
}

impl Event {
    fn before(resync: u32) -> Option<Self> {
        match resync {
            _ if resync % 10 == 3 => Some(Self::Reload),
            _ if resync % 25 == 7 => Some(Self::Replace),
            _ if resync % 20 == 11 => Some(Self::Outage),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Reload => "reloads",
            Self::Replace => "replaced plugins",
            Self::Outage => "outages of Port",
        }
    }
}

/// The resources of the service after a resync.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sample {
    resident_mib: f64,
    /// Heap and stacks: the resident memory without files.
    anonymous_mib: f64,
    files: f64,
    threads: f64,
    state_kib: f64,
    seconds: f64,
}

/// Runs this many resyncs, and returns the table.
pub(crate) fn run(programs: &Programs, resyncs: u32, progress: fn(&str)) -> Result<Table> {
    ensure!(resyncs >= FEWEST, "fewer than {FEWEST} resyncs do not tell a leak from a plateau");
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
        // The fake server keeps a log of requests.
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

/// A part of the memory, by name.
type MemoryPart = (&'static str, fn(&Sample) -> f64);

/// The parts of the memory that must not grow.
const OF_MEMORY: [MemoryPart; 2] =
    [("resident memory", |sample| sample.resident_mib), ("heap and stacks", |sample| sample.anonymous_mib)];

fn table(samples: &[Sample], events: &BTreeMap<Event, u32>, outcomes: &BTreeMap<String, u64>) -> Table {
    let mut table = Table::new(
        format!("Soak: {} resyncs of one process", samples.len()),
        &[
            "after resync",
            "resident memory, MiB",
            "of these heap and stacks, MiB",
            "open files",
            "threads",
            "state directory, KiB",
            "seconds",
        ],
    );
    let step = (samples.len() / 10).max(1);
    for number in (step..=samples.len()).step_by(step) {
        let Sample { resident_mib, anonymous_mib, files, threads, state_kib, seconds } = samples[number - 1];
        table.row(Row::plain([
            number.to_string(),
            format!("{resident_mib:.1}"),
            format!("{anonymous_mib:.1}"),
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
    // Medians of a tenth each: a single sample may coincide with a reload.
    let early = &samples[samples.len() / 5..=samples.len() * 3 / 10];
    let late = &samples[samples.len() * 9 / 10..];
    let grown = |of: fn(&Sample) -> f64| middle(late, of) - middle(early, of);
    let more = |what: &str, most: f64, measured: f64| {
        Target::at_most(format!("soak: {what} more than after the first fifth"), most, measured).required()
    };
    for (what, of) in OF_MEMORY {
        let name = format!("soak: KiB of {what} that each resync of the second half adds");
        table.target(Target::at_most(name, KIB_PER_RESYNC, rise(samples, of)).required());
    }
    table.target(more("MiB", RESIDENT_MIB, grown(|sample| sample.resident_mib)));
    table.target(more("open files", FILES, grown(|sample| sample.files)));
    table.target(more("threads", THREADS, grown(|sample| sample.threads)));
    let ratio = middle(late, |sample| sample.state_kib) / middle(early, |sample| sample.state_kib);
    table.target(Target::at_most("soak: state ÷ that after the first fifth", STATE_RATIO, ratio).required());
    table
}

/// How many KiB a resync of the second half adds to the memory, in most tenths of it: the median of the
/// differences between the medians of neighbouring tenths. A few steps do not change it.
fn rise(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    let half = &samples[samples.len() / 2..];
    let tenth = half.len() / 10;
    let middles: Vec<f64> = half.chunks_exact(tenth).map(|part| middle(part, of)).collect();
    let differences = middles.windows(2).map(|pair| pair[1] - pair[0]).collect();
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let resyncs = tenth as f64;
    crate::clock::median(differences) * 1024.0 / resyncs
}

fn middle(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    crate::clock::median(samples.iter().map(of).collect())
}

/// `berth run`, and its directories.
struct Service {
    process: Child,
    authority: String,
    place: Place,
    plugins: PathBuf,
    /// The first version of the replaced plugin.
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
        let plugin = fs::read(plugins.join(REPLACED))?;
        // No other process takes it before the service does.
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
            Event::Replace => {
                // A custom section, which changes nothing but the digest.
                let mut other = self.plugin.clone();
                let section = [[1, b'n'].as_slice(), resync.to_string().as_bytes()].concat();
                other.extend([0, u8::try_from(section.len())?]);
                other.extend(section);
                replace(&self.plugins.join(REPLACED), &other)
            }
            Event::Outage => {
                let port = &self.place.port;
                port.post("/_stand-in/faults", &json!({"route": "", "times": 4, "status": 502}))?;
                port.post("/_stand-in/faults", &json!({"route": "", "times": 2, "drop": true}))?;
                Ok(())
            }
        }
    }

    /// Requests a resync at Port, and waits for its end.
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
            anonymous_mib: value("RssAnon")? / 1024.0,
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

/// Resyncs by outcome, from the metrics page.
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

/// Through a second file, so that nobody reads a part of it.
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

    /// The missed targets of 500 resyncs with so many KiB more in each.
    fn missed(resident: fn(u32) -> f64, anonymous: fn(u32) -> f64) -> usize {
        // Of up to 0.15 MiB; less is measured between two steps.
        let noise = |resync: u32| f64::from(resync * 7919 % 16) / 100.0;
        let samples: Vec<Sample> = (0..500)
            .map(|resync| Sample {
                resident_mib: 150.0 + resident(resync) / 1024.0 + noise(resync),
                anonymous_mib: 60.0 + anonymous(resync) / 1024.0 + noise(resync),
                files: 20.0,
                threads: 9.0,
                state_kib: 100.0,
                seconds: 1.0,
            })
            .collect();
        let table = table(&samples, &BTreeMap::new(), &BTreeMap::new());
        table.targets().filter(|target| !target.is_reached()).count()
    }

    #[test]
    fn a_plateau_is_no_leak() {
        assert_eq!(missed(|_| 0.0, |_| 0.0), 0);
        // Two late steps of 4 MiB.
        let steps = |resync: u32| 4096.0 * f64::from(u32::from(resync > 330) + u32::from(resync > 440));
        assert_eq!(missed(steps, steps), 0);
    }

    #[test]
    fn a_leak_is_found_however_it_comes() {
        // Little in each resync, which the bound of the whole would not show.
        let little = |resync: u32| f64::from(resync) * 4.0;
        assert_eq!(missed(little, little), 2);
        // Much with each replaced plugin.
        let steps = |resync: u32| f64::from(resync / 25) * 256.0;
        assert_eq!(missed(steps, steps), 2);
        // Heap, while the kernel drops pages of files.
        assert_eq!(missed(|_| 0.0, little), 1);
        // Mapped files, such as compiled plugins.
        assert_eq!(missed(little, |_| 0.0), 1);
        // At once, and more than an allocator keeps.
        let leap = |resync: u32| if resync < 200 { 0.0 } else { 40.0 * 1024.0 };
        assert_eq!(missed(leap, leap), 1);
    }

    #[test]
    fn everything_happens_in_fifty_resyncs() {
        let met: std::collections::BTreeSet<Event> = (1..=50).filter_map(Event::before).collect();
        assert_eq!(met.len(), 3);
    }
}
