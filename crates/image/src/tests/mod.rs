//! Behaviour of the whole decoder, by topic.
