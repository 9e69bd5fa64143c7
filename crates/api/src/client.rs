//! A small blocking client: sends a request struct, or JSON by the endpoint's description.
