//! The names of a bulk load in their order, in little memory: what is too much goes, sorted, to files that have no name themselves.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write as _};
use std::path::PathBuf;

/// Bytes of names that are held before they go to a file.
const HELD: usize = 32 << 20;
/// What a name in a file has before its text: slot, row, length.
const HEAD: usize = 16;

/// Names as they come; in the end all of them by slot and text.
pub(crate) struct Names {
    folder: PathBuf,
    held: usize,
    text: String,
    spans: Vec<Span>,
    runs: Vec<File>,
}

struct Span {
    slot: i64,
    /// In the row id of its record.
    n: u32,
    length: u32,
    start: usize,
}

fn named<'t>(text: &'t str, span: &Span) -> (i64, &'t str) {
    (span.slot, &text[span.start..span.start + span.length as usize])
}

impl Names {
    /// Files go to this folder.
    pub fn new(folder: PathBuf) -> Names {
        Names { folder, held: HELD, text: String::new(), spans: Vec::new(), runs: Vec::new() }
    }

    pub fn add(&mut self, slot: i64, name: &str, n: u32) -> io::Result<()> {
        self.spans.push(Span { slot, n, length: name.len() as u32, start: self.text.len() });
        self.text.push_str(name);
        if self.text.len() + self.spans.len() * size_of::<Span>() >= self.held {
            self.sort();
            self.spill()?;
        }
        Ok(())
    }

    /// No more will come.
    pub fn ended(mut self) -> io::Result<Names> {
        self.sort();
        if !self.runs.is_empty() {
            self.spill()?;
        }
        Ok(self)
    }

    fn sort(&mut self) {
        let text = &self.text;
        self.spans.sort_unstable_by(|a, b| named(text, a).cmp(&named(text, b)));
    }

    fn spill(&mut self) -> io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(&self.folder)?);
        for span in self.spans.drain(..) {
            let (slot, name) = named(&self.text, &span);
            file.write_all(&slot.to_le_bytes())?;
            file.write_all(&span.n.to_le_bytes())?;
            file.write_all(&span.length.to_le_bytes())?;
            file.write_all(name.as_bytes())?;
        }
        self.text.clear();
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.runs.push(file);
        Ok(())
    }

    /// Every name in order: slot, text, row.
    pub fn each<E: From<io::Error>>(self, mut f: impl FnMut(i64, &str, u32) -> Result<(), E>) -> Result<(), E> {
        for span in &self.spans {
            let (slot, name) = named(&self.text, span);
            f(slot, name, span.n)?;
        }
        let mut runs: Vec<_> = self.runs.into_iter().map(|file| BufReader::with_capacity(256 << 10, file)).collect();
        let mut ahead = BinaryHeap::new();
        for (at, run) in runs.iter_mut().enumerate() {
            ahead.extend(next(run)?.map(|(slot, name, n)| Reverse((slot, name, n, at))));
        }
        while let Some(Reverse((slot, name, n, at))) = ahead.pop() {
            f(slot, &name, n)?;
            ahead.extend(next(&mut runs[at])?.map(|(slot, name, n)| Reverse((slot, name, n, at))));
        }
        Ok(())
    }
}

/// The next name of a file; none at its end.
fn next(run: &mut BufReader<File>) -> io::Result<Option<(i64, String, u32)>> {
    let mut head = [0; HEAD];
    match run.read_exact(&mut head) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let (slot, rest) = head.split_at(8);
    let (n, length) = rest.split_at(4);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |all, b| all << 8 | u64::from(*b));
    let (slot, n) = (number(slot) as i64, number(n) as u32);
    let mut name = vec![0; number(length) as usize];
    run.read_exact(&mut name)?;
    Ok(Some((slot, String::from_utf8(name).map_err(io::Error::other)?, n)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Names;

    proptest! {
        #[test]
        fn names_come_in_order_whatever_is_held(
            all in proptest::collection::vec((0_i64..4, "[a-cä]{0,3}", 0_u32..9), 0..80),
            held in 0_usize..2_000,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut names = Names { held, ..Names::new(folder.path().to_owned()) };
            for (slot, name, n) in &all {
                names.add(*slot, name, *n).unwrap();
            }
            let mut told = Vec::new();
            names.ended().unwrap().each::<std::io::Error>(|slot, name, n| {
                told.push((slot, name.to_owned(), n));
                Ok(())
            }).unwrap();
            prop_assert!(told.is_sorted_by_key(|(slot, name, _)| (*slot, name.clone())));
            told.sort();
            let mut all = all;
            all.sort();
            prop_assert_eq!(told, all);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "files have no names");
        }
    }
}
