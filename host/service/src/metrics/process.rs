//! What a resync uses of the machine: processor, memory, and the runtime's latency.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{task::AbortHandle, time::Instant};

/// The sampling interval, as in Ocean.
const EVERY: Duration = Duration::from_millis(500);

/// The samples of a resync.
#[derive(Debug, Default, Clone)]
pub(super) struct Samples {
    /// Usage of one processor, in percent; 200 with two of them busy.
    pub(super) cpu: Vec<f64>,
    /// Resident memory, in bytes.
    pub(super) memory: Vec<f64>,
    /// How late a timer of the runtime fired, in milliseconds.
    pub(super) latency: Vec<f64>,
    /// When the processor time was last read, and its value.
    last: Option<(Instant, Duration)>,
}

impl Samples {
    fn take(&mut self) {
        let (now, cpu) = (Instant::now(), cpu_time());
        if let (Some((then, before)), Some(cpu)) = (self.last, cpu) {
            let passed = now.duration_since(then).as_secs_f64();
            // Too short a time says nothing.
            if passed > 0.01 {
                self.cpu.push(100.0 * cpu.saturating_sub(before).as_secs_f64() / passed);
            }
        }
        self.last = cpu.map(|cpu| (now, cpu));
        self.memory.extend(resident_memory());
    }
}

/// Returns maximum, median and mean; `None` without samples.
pub(super) fn max_median_avg(samples: &[f64]) -> Option<[f64; 3]> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = *sorted.get(sorted.len() / 2)?;
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let avg = sorted.iter().sum::<f64>() / sorted.len() as f64;
    Some([*sorted.last()?, median, avg])
}

/// Samples the process until it is dropped.
#[derive(Debug)]
pub(super) struct Sampling {
    samples: Arc<Mutex<Samples>>,
    task: AbortHandle,
}

impl Sampling {
    /// Starts. Must be called inside a runtime.
    pub(super) fn begin() -> Self {
        let samples: Arc<Mutex<Samples>> = Arc::default();
        lock(&samples).take();
        let seen = Arc::clone(&samples);
        let task = tokio::spawn(async move {
            loop {
                let due = Instant::now() + EVERY;
                tokio::time::sleep_until(due).await;
                let late = Instant::now().saturating_duration_since(due);
                let mut samples = lock(&seen);
                samples.latency.push(late.as_secs_f64() * 1000.0);
                samples.take();
            }
        });
        Self { samples, task: task.abort_handle() }
    }

    /// Returns the samples so far.
    pub(super) fn seen(&self) -> Samples {
        lock(&self.samples).clone()
    }

    /// Stops, with a last sample.
    pub(super) fn end(self) -> Samples {
        let mut samples = lock(&self.samples);
        samples.take();
        samples.clone()
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(samples: &Mutex<Samples>) -> MutexGuard<'_, Samples> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the processor time of this process.
#[cfg(unix)]
pub(super) fn cpu_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
}

#[cfg(not(unix))]
pub(super) fn cpu_time() -> Option<Duration> {
    None
}

/// Returns the resident memory of this process, in bytes. Only Linux has it in a file.
#[cfg(target_os = "linux")]
pub(super) fn resident_memory() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u32 = statm.split(' ').nth(1)?.parse().ok()?;
    let size = u32::try_from(rustix::param::page_size()).ok()?;
    Some(f64::from(pages) * f64::from(size))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn resident_memory() -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_median_and_mean_are_distinguished() {
        assert_eq!(max_median_avg(&[]), None);
        assert_eq!(max_median_avg(&[1.0, 9.0, 2.0]), Some([9.0, 2.0, 4.0]));
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn a_busy_process_is_seen_to_be_busy() {
        let sampling = Sampling::begin();
        let begun = std::time::Instant::now();
        let mut work = 1_u64;
        while begun.elapsed() < Duration::from_millis(30) {
            work = std::hint::black_box(work.wrapping_mul(31));
        }
        let samples = sampling.end();
        assert!(samples.cpu[0] > 1.0, "{samples:?}");
        assert!(samples.memory.len() == 2 && samples.memory[0] > 1e6, "{samples:?}");
    }
}
