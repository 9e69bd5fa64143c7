//! The server: one door in (`App::call`), handlers per noun, HTTP, authentication, audit, jobs.

pub mod access;
pub mod app;
pub mod audit;
pub mod boot;
pub mod host;
pub mod housekeeping;
pub mod http;
pub mod protection;
pub mod recover;
pub mod settings;

pub use app::{App, Ctx, Handle, Reply};
pub use boot::{BootError, Folder};
pub use host::Host;
pub use settings::Settings;
