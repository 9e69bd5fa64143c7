//! Progress of long work: bars on standard error, and only for somebody who looks.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const BYTES: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
const BYTES_WITHOUT_END: &str = "{msg} {bytes} {bytes_per_sec}";
const STEPS: &str = "{msg} {wide_bar} {pos}/{len} {eta}";
const SPINNER: &str = "{spinner} {msg} {elapsed}";

/// Bytes that pass; without `length` no end is shown.
pub fn bytes(message: &str, length: Option<u64>) -> ProgressBar {
    match length {
        Some(length) => visible(ProgressBar::new(length), BYTES, message),
        None => visible(ProgressBar::no_length(), BYTES_WITHOUT_END, message),
    }
}

/// Work that reports its steps from time to time, or nothing.
pub fn work(message: &str) -> ProgressBar {
    let bar = visible(ProgressBar::no_length(), SPINNER, message);
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(120));
    }
    bar
}

/// How far the work has come.
pub fn set(bar: &ProgressBar, done: u64, total: u64) {
    if total > 0 && bar.length().is_none() {
        bar.set_style(style(STEPS));
    }
    if total > 0 {
        bar.set_length(total);
        bar.set_position(done);
    }
}

fn visible(bar: ProgressBar, template: &str, message: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    bar.set_style(style(template));
    bar.with_message(message.to_owned())
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are tested")
}

#[cfg(test)]
mod tests {
    use super::{BYTES, BYTES_WITHOUT_END, SPINNER, STEPS, style};

    #[test]
    fn every_template_is_understood() {
        for template in [BYTES, BYTES_WITHOUT_END, STEPS, SPINNER] {
            let bar = indicatif::ProgressBar::hidden();
            bar.set_style(style(template));
            bar.inc(1);
            assert_eq!(bar.position(), 1);
        }
    }
}
