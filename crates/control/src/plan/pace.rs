//! The pace of a plan, computed from the times at which its moves began and ended.

use lenticular_model::Timestamp;

/// The pace of a plan's moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The shortest time between the starts of two moves, in milliseconds.
    pub shortest_gap_ms: i64,
    /// The longest, in milliseconds.
    pub longest_gap_ms: i64,
    /// From the first start to the last, in milliseconds.
    pub span_ms: i64,
    /// The number of moves.
    pub moves: usize,
    /// The most moves under way at once.
    pub most_under_way: usize,
}

/// The pace of moves, each with its beginning and its end (`None` while it is under way); `None` for fewer than two moves.
pub fn pace(mut moves: Vec<(Timestamp, Option<Timestamp>)>) -> Option<Pace> {
    moves.sort_unstable();
    let gaps = || moves.windows(2).map(|pair| pair[1].0.since_ms(pair[0].0));
    let (shortest_gap_ms, longest_gap_ms) = (gaps().min()?, gaps().max()?);
    // An end at the same time as a start comes first.
    let mut events: Vec<(Timestamp, i64)> = moves.iter().map(|(begin, _)| (*begin, 1)).collect();
    events.extend(moves.iter().filter_map(|(_, end)| Some(((*end)?, -1))));
    events.sort_unstable();
    let (mut now, mut most) = (0_i64, 0_i64);
    for (_, change) in events {
        now += change;
        most = most.max(now);
    }
    Some(Pace {
        shortest_gap_ms,
        longest_gap_ms,
        span_ms: gaps().sum(),
        moves: moves.len(),
        most_under_way: usize::try_from(most).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_follows_from_the_times_of_the_moves() {
        let at = |s: i64| Timestamp(0).plus_s(s);
        let moves = vec![(at(10), Some(at(14))), (at(0), Some(at(3))), (at(3), Some(at(12))), (at(12), None)];
        let pace = pace(moves).expect("there are several moves");
        assert_eq!((pace.shortest_gap_ms, pace.longest_gap_ms, pace.span_ms), (2_000, 7_000, 12_000));
        // At 12 s one ends as another begins; at 10 s two are under way.
        assert_eq!((pace.moves, pace.most_under_way), (4, 2));
    }

    #[test]
    fn one_move_has_no_pace() {
        assert_eq!(pace(vec![(Timestamp(0), None)]), None);
        assert_eq!(pace(Vec::new()), None);
    }
}
