//! Forms on the wire: golden bytes, round trips, garbage.
