//! The whole product, tested over its sockets; one module per noun.

mod access;
mod auth;
mod crypto;
mod domains;
mod http;
mod key_lists;
mod key_names;
mod key_permissions;
mod key_versions;
mod keys;
mod pages;
mod restart;
mod secrets;
mod states;
mod surfaces;
mod users;
