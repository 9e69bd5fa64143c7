//! Everything tests share: throw-away servers, fixtures, fault injection, whole-product stories.
