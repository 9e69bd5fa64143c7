//! Measures the archive against its limits: raw zstd + GCM + SHA-256 of the same bytes on one thread. `archive_bench [RECORDS…]`

use std::time::{Duration, Instant};

use keyark_archive::block::Deflater;
use keyark_archive::{
    Anchor, AnchorKey, Archive, ArchiveError, Closing, Counting, Door, FactorKind, Header, OpeningKey, RecordRef, Wrap,
    Writer,
};
use keyark_crypto::hash::Sha256;
use keyark_crypto::sign::Signer;
use keyark_crypto::{Key256, aead::Gcm, random};
use keyark_model::{ArchiveId, DomainId, Id, Incarnation, Kind, SystemId, Time};
use uuid::Uuid;

const DOMAINS: usize = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut sizes: Vec<usize> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000];
    }
    for n in sizes {
        run(n)?;
    }
    Ok(())
}

/// One record's varying parts, made beforehand so that neither side pays for them.
struct Source {
    headers: Vec<u8>,
    places: Vec<(Id, std::ops::Range<usize>)>,
    bodies: Vec<u8>,
}

const BODY: usize = 90;

fn make(n: usize) -> Source {
    let mut bodies = vec![0; n * BODY];
    random::fill(&mut bodies);
    let (mut headers, mut places) = (Vec::with_capacity(n * 360), Vec::with_capacity(n));
    for i in 0..n {
        let noise = &bodies[i * BODY..];
        let id = Id(Uuid::from_u128((i as u128) << 74 | u128::from(noise[0]) << 8 | u128::from(noise[1])));
        let start = headers.len();
        let header = format!(
            r#"{{"name":"key-{i:08}-{:02x}{:02x}","algorithm":"aes","size":256,"usageMask":12,"state":"Active","unexportable":false,"undeletable":false,"objectType":"Symmetric Key","createdAt":"2026-05-0{}T03:1{}:{:02}.{:06}000Z","owner":"local|{:02x}","labels":{{"team":"payments","env":"production"}},"meta":{{}},"versions":[{{"version":0,"state":"Active","fingerprint":"{:02x}{:02x}{:02x}{:02x}"}}]}}"#,
            noise[2],
            noise[3],
            i % 9,
            i % 10,
            i % 60,
            i % 1_000_000,
            i % 7,
            noise[4],
            noise[5],
            noise[6],
            noise[7],
        );
        headers.extend_from_slice(header.as_bytes());
        places.push((id, start..headers.len()));
    }
    Source { headers, places, bodies }
}

impl Source {
    fn each(&self, mut f: impl FnMut(RecordRef<'_>) -> Result<(), ArchiveError>) -> Result<(), ArchiveError> {
        let per_domain = self.places.len().div_ceil(DOMAINS);
        for (i, (id, header)) in self.places.iter().enumerate() {
            f(RecordRef {
                kind: Kind::Key,
                domain: DomainId(Uuid::from_u128(1 + (i / per_domain) as u128)),
                id: *id,
                revision: 1,
                time: Time(1_770_000_000_000_000 + i as i64 * 1000),
                header: &self.headers[header.clone()],
                body: &self.bodies[i * BODY..][..BODY],
            })?;
        }
        Ok(())
    }
}

fn run(n: usize) -> Result<(), Box<dyn std::error::Error>> {
    let source = make(n);
    println!("\n{n} records, {} bytes of header and {BODY} of body each", source.headers.len() / n);
    // The limit: the same bytes, in 256 KiB pieces, compressed, hashed and sealed by one thread.
    let raw = raw_limit(&source)?;
    raw.show("raw copy + zstd-1 + GCM + SHA-256, one thread", n);

    let (signer, key, dek): (_, Key256, Key256) = (Signer::generate(), random::secret(), random::secret());
    let opening = OpeningKey { kind: FactorKind::BackupKey, id: "bench", key: &key };
    let (system, incarnation) = (SystemId(Uuid::from_u128(1)), Incarnation(Uuid::from_u128(2)));
    let mut header = Header::new(ArchiveId(Uuid::from_u128(3)), system, incarnation, Time(0));
    header.doors = vec![Door::backup_key("bench")];
    header.wraps = vec![Wrap::new(&opening, header.id, None, &dek)];

    let clock = Clock::start();
    let mut writer = Writer::new(Vec::with_capacity(n * 160), header, &dek)?;
    source.each(|r| writer.record(&r))?;
    let (bytes, summary) = writer.finish(&Closing::default(), &signer)?;
    let write = clock.stop();
    write.show("write", n);
    println!(
        "    {} bytes, {:.1} a record; wall {:.2} and CPU {:.2} of the raw limit",
        summary.length,
        summary.length as f64 / n as f64,
        write.wall.as_secs_f64() / raw.wall.as_secs_f64(),
        write.cpu.as_secs_f64() / raw.cpu.as_secs_f64()
    );

    let anchor = Anchor::new(vec![AnchorKey::pinned(system, incarnation, &signer.public(), 0)]);
    let counting = Counting::new(&bytes);
    let archive = Archive::open(&counting)?;
    let clock = Clock::start();
    archive.verify(&anchor)?.require_pinned()?;
    clock.stop().show("verify (no key)", n);
    let unlocked = archive.unlock(&opening)?;
    let clock = Clock::start();
    let mut seen = 0usize;
    unlocked.each_record(|r| {
        seen += r.header.len();
        Ok::<(), ArchiveError>(())
    })?;
    clock.stop().show("read all, as views", n);
    assert_eq!(seen, source.headers.len());
    let clock = Clock::start();
    let owned = unlocked.records()?.try_fold(0, |n, r| r.map(|_| n + 1))?;
    clock.stop().show("read all, owned", n);
    assert_eq!(owned, n);
    let clock = Clock::start();
    unlocked.verify_full(|_| {})?;
    clock.stop().show("verify everything, one pass", n);

    counting.take();
    let (wanted, _) = source.places[n / 2];
    let domain = DomainId(Uuid::from_u128(1 + (n / 2 / n.div_ceil(DOMAINS)) as u128));
    let clock = Clock::start();
    let archive = Archive::open(&counting)?;
    let found = archive.unlock(&opening)?.record(domain, Kind::Key, wanted)?;
    let one = clock.stop();
    assert!(found.is_some());
    let (reads, read) = counting.take();
    println!("  one record from the closed file: {:.2} ms, {reads} reads, {read} bytes", one.wall.as_secs_f64() * 1e3);
    let unlocked = archive.unlock(&opening)?;
    let clock = Clock::start();
    const LOOKUPS: usize = 200;
    for i in 0..LOOKUPS {
        let at = i * 7919 % n;
        let domain = DomainId(Uuid::from_u128(1 + (at / n.div_ceil(DOMAINS)) as u128));
        assert!(unlocked.record(domain, Kind::Key, source.places[at].0)?.is_some());
    }
    println!("  one record more: {:.2} ms", clock.stop().wall.as_secs_f64() * 1e3 / LOOKUPS as f64);
    println!("  resident at most: {} MiB (the input and the archive are in memory)", peak_mib().unwrap_or(0));
    Ok(())
}

fn raw_limit(source: &Source) -> Result<Spent, Box<dyn std::error::Error>> {
    let clock = Clock::start();
    let mut deflater = Deflater::new()?;
    let gcm = Gcm::new(&random::secret());
    let mut hash = Sha256::default();
    let (mut piece, mut segment) = (Vec::with_capacity(300 << 10), Vec::with_capacity(2 << 20));
    let (mut out, mut number) = (Vec::with_capacity(source.places.len() * 160), 0u32);
    let mut close = |piece: &mut Vec<u8>, segment: &mut Vec<u8>, end: bool| -> Result<(), ArchiveError> {
        segment.extend_from_slice(deflater.deflate(piece)?);
        piece.clear();
        if segment.len() >= 1 << 20 || end {
            let mut nonce = [0; 12];
            nonce[..4].copy_from_slice(&number.to_be_bytes());
            number += 1;
            gcm.seal(nonce, &[], segment);
            hash.update(segment);
            out.extend_from_slice(segment);
            segment.clear();
        }
        Ok(())
    };
    source.each(|r| {
        piece.extend_from_slice(r.domain.as_bytes());
        piece.extend_from_slice(r.id.as_bytes());
        piece.extend_from_slice(&r.time.0.to_be_bytes());
        piece.extend_from_slice(r.header);
        piece.extend_from_slice(r.body);
        if piece.len() >= 256 << 10 { close(&mut piece, &mut segment, false) } else { Ok(()) }
    })?;
    close(&mut piece, &mut segment, true)?;
    std::hint::black_box(hash.finish());
    Ok(clock.stop())
}

/// Wall and processor time.
struct Clock {
    wall: Instant,
    cpu: Duration,
}

struct Spent {
    wall: Duration,
    cpu: Duration,
}

impl Clock {
    fn start() -> Clock {
        Clock { cpu: cpu_time(), wall: Instant::now() }
    }

    fn stop(self) -> Spent {
        Spent { wall: self.wall.elapsed(), cpu: cpu_time().saturating_sub(self.cpu) }
    }
}

impl Spent {
    fn show(&self, what: &str, n: usize) {
        let (wall, cpu) = (self.wall.as_secs_f64(), self.cpu.as_secs_f64());
        println!("  {what}: {wall:.3} s, {cpu:.3} CPU-s, {:.2} M records/s", n as f64 / wall / 1e6);
    }
}

/// Nanoseconds on a processor of all threads, those that ended included (`utime` + `stime` in 10 ms ticks).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 = after.split(' ').skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}
