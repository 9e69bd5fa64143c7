//! Cryptography over HTTP and HTTPS, against an empty authenticated request and an echo of as many bytes.

use crate::bench::Bench;
use crate::client::request;
use crate::echo::Echo;
use crate::figures::{Figure, Outcome, Target, number};
use crate::limits::seal;
use crate::load::{Bound, Load, Work};

/// Numbers of clients, and what one encryption may cost then: µs of server CPU.
const CLIENTS: [(usize, f64); 3] = [(1, 45.0), (16, 16.0), (64, 16.0)];
const BATCH: usize = 100;

/// What later figures are compared with, all at 16 clients.
pub struct Floor {
    /// µs of server CPU of an empty authenticated request.
    pub empty: f64,
    /// Of an encryption over HTTP, for each number of clients.
    pub encrypt: Vec<Load>,
}

/// The figures over HTTP.
pub fn http(bench: &Bench) -> Outcome<Floor> {
    let token = bench.token()?;
    let encrypting = bench.encrypting(&token);
    let empty = Work::cycle(vec![request("POST", "/v1/crypto/random", &token, r#"{"bytes":1}"#)]);
    let sealed = seal();
    let (mut floor, mut encrypts) = (0.0, Vec::new());
    for (clients, most) in CLIENTS {
        let echo = echoed(bench, clients, &encrypting)?;
        let plain = bench.run(clients, &empty)?;
        if clients == 16 {
            floor = plain.cpu;
        }
        Figure::new(format!("empty authenticated request, {clients} clients: server CPU"), plain.cpu, "µs")
            .note(plain.note())
            .limit(echo, "loopback echo of an encryption's bytes")
            .print();
        let encrypt = bench.run(clients, &encrypting)?;
        Figure::new(format!("encrypt 32 B, {clients} clients: server CPU"), encrypt.cpu, "µs")
            .note(encrypt.note())
            .limit(plain.cpu, "an empty request")
            .target(Target::AtMost(most))
            .print();
        Figure::new(format!("encrypt 32 B, {clients} clients: beyond an empty request"), encrypt.cpu - plain.cpu, "µs")
            .limit(sealed, "one seal in this process")
            .target(Target::AtMost(5.0))
            .print();
        encrypts.push(encrypt);
    }
    let batch = bench.run(16, &bench.encrypting_batches(&token, BATCH)?)?;
    Figure::new(
        format!("encrypt in batches of {BATCH}, 16 clients: server CPU an item"),
        batch.cpu / BATCH as f64,
        "µs",
    )
    .note(format!("{} items/s", number(batch.per_second * BATCH as f64)))
    .limit(sealed, "one seal in this process")
    .target(Target::AtMost(0.8))
    .print();
    Ok(Floor { empty: floor, encrypt: encrypts })
}

/// µs of an echo's CPU for a request and an answer as long as those of the work.
fn echoed(bench: &Bench, clients: usize, work: &Work) -> Outcome<f64> {
    let asked = work.request();
    let answer = bench.answer_length(&asked)?;
    let echo = Echo::start(asked.len(), answer)?;
    let same = Work::cycle(vec![asked]);
    Ok(bench.run_against(&echo.dial, echo.pid(), clients, Bound::Time(bench.slice / 2), &same)?.cpu)
}

/// The same over HTTPS, against HTTP; the server was started with TLS.
pub fn https(bench: &Bench, floor: &Floor, create: &Load) -> Outcome {
    let token = bench.token()?;
    let encrypting = bench.encrypting(&token);
    for ((clients, most), plain) in CLIENTS.into_iter().zip(&floor.encrypt) {
        let encrypt = bench.run(clients, &encrypting)?;
        Figure::new(format!("encrypt 32 B over HTTPS, {clients} clients: server CPU"), encrypt.cpu, "µs")
            .note(encrypt.note())
            .limit(plain.cpu, "over HTTP")
            .target(Target::AtMost(most))
            .print();
    }
    let created = bench.run(16, &bench.creating(&token))?;
    Figure::new("create keys over HTTPS, 16 clients: server CPU", created.cpu, "µs")
        .note(created.note())
        .limit(create.cpu, "over HTTP")
        .target(Target::AtMost(75.0))
        .print();
    Ok(())
}
