//! Distance between this machine and a server on it: what is sent over this port arrives later, and in order.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// Pieces that are on their way at most; they are up to 64 KiB.
const ON_THE_WAY: usize = 4096;

/// A port of this machine behind which another one answers, a round trip later. Its connections end with those who use them.
pub fn distance(to: u16, round_trip: Duration) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (Ok(near), Ok(far)) = (near, TcpStream::connect(("127.0.0.1", to))) else { continue };
            for end in [&near, &far] {
                let _ = end.set_nodelay(true);
            }
            let (Ok(back), Ok(from)) = (near.try_clone(), far.try_clone()) else { continue };
            carry(near, far, round_trip / 2);
            carry(from, back, round_trip / 2);
        }
    });
    port
}

/// Carries bytes one way; each arrives so much later than it was sent.
fn carry(mut from: TcpStream, to: TcpStream, delay: Duration) {
    let (sender, receiver) = sync_channel(ON_THE_WAY);
    std::thread::spawn(move || deliver(to, &receiver));
    std::thread::spawn(move || {
        let mut piece = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            if sender.send((Instant::now() + delay, piece[..count].to_vec())).is_err() {
                return;
            }
        }
    });
}

fn deliver(mut to: TcpStream, pieces: &Receiver<(Instant, Vec<u8>)>) {
    for (due, piece) in pieces {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
