//! Tables that fit a width: the least important columns are dropped first, and the others are wrapped.

use crate::plain::printable;
use anyhow::Result;
use comfy_table::{ColumnConstraint, ContentArrangement, Width, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// The width of tables without a wider terminal.
const WIDTH: usize = 100;

/// The smallest width of a wrapped column, if its cells are that wide.
const WRAPPED: usize = 20;

/// Longer words are broken.
const WORD_MAX: usize = 40;

/// The output for answers, with the width of a line.
pub struct Screen<W> {
    out: W,
    width: usize,
}

impl<W: Write> Screen<W> {
    /// Prints to `out`, which writes to the process's output.
    pub fn new(out: W) -> Self {
        let stdout = io::stdout();
        let terminal = || rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        let width = if stdout.is_terminal() { terminal() } else { None };
        Self { out, width: width.map_or(WIDTH, |width| width.max(WIDTH)) }
    }

    /// Prints a line of text, and wraps it if it is too wide.
    pub fn line(&mut self, text: &str) -> Result<()> {
        for line in wrap(&printable(text), self.width) {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    /// Prints a text unchanged, so that a person can copy it.
    pub fn verbatim(&mut self, text: &str) -> Result<()> {
        Ok(writeln!(self.out, "{text}")?)
    }

    /// Prints an answer as JSON, for scripts.
    pub fn json(&mut self, answer: &impl Serialize) -> Result<()> {
        self.verbatim(&serde_json::to_string_pretty(answer)?)
    }
}

#[cfg(test)]
impl Screen<Vec<u8>> {
    /// The output of `show` without a wider terminal. No line is wider than the default width.
    pub fn printed(show: impl FnOnce(&mut Self) -> Result<()>) -> String {
        let mut screen = Self { out: Vec::new(), width: WIDTH };
        show(&mut screen).unwrap();
        let text = String::from_utf8(screen.out).unwrap();
        let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > WIDTH).collect();
        assert!(wide.is_empty(), "wider than {WIDTH}: {wide:#?}");
        text
    }
}

/// Breaks a text into lines at its spaces. A word longer than a line gets its own line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        line.push_str(if line.is_empty() { "" } else { " " });
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// A column: its head, and how early it is dropped.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    head: &'static str,
    /// The column with the highest rank is dropped first; a column with rank 0 is never dropped.
    rank: u8,
}

/// A column that is always shown.
pub const fn always(head: &'static str) -> Column {
    Column { head, rank: 0 }
}

/// A column that is dropped if the table is too wide: the highest rank first.
pub const fn dropped(rank: u8, head: &'static str) -> Column {
    Column { head, rank }
}

/// A table.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// A table of names and values, without a head.
    pub fn pairs() -> Self {
        Self::new(&[always(""), always("")])
    }

    /// Adds a row: a cell for each column.
    pub fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows.push(cells.into_iter().map(printable).collect());
    }

    /// Prints the table.
    pub fn print<W: Write>(&self, screen: &mut Screen<W>) -> Result<()> {
        Ok(writeln!(screen.out, "{}", self.render(screen.width))?)
    }

    fn render(&self, width: usize) -> comfy_table::Table {
        let shown = self.layout(width);
        let mut table = comfy_table::Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
        if self.columns.iter().any(|column| !column.head.is_empty()) {
            table.set_header(shown.iter().map(|(n, _)| self.columns[*n].head));
        }
        for row in &self.rows {
            table.add_row(shown.iter().map(|(n, _)| &row[*n]));
        }
        let padded = |width: usize| Width::Fixed(u16::try_from(width + 2).unwrap_or(u16::MAX));
        table.set_constraints(shown.iter().map(|(_, width)| ColumnConstraint::Absolute(padded(*width))));
        table
    }

    /// The columns to show, each with its width.
    fn layout(&self, width: usize) -> Vec<(usize, usize)> {
        let empty = |n: usize| self.rows.iter().all(|row| row[n].is_empty());
        let mut shown: Vec<usize> =
            (0..self.columns.len()).filter(|n| self.columns[*n].rank == 0 || !empty(*n)).collect();
        // Each column has a space on both sides and a line before it; one more line ends the table.
        let room = |columns: usize| width.saturating_sub(columns * 3 + 1);
        let least = |n: usize| self.full(n).min(self.longest_word(n).max(WRAPPED));
        while shown.iter().map(|n| least(*n)).sum::<usize>() > room(shown.len()) {
            let Some(at) = (0..shown.len()).max_by_key(|at| self.columns[shown[*at]].rank) else { break };
            if self.columns[shown[at]].rank == 0 {
                break;
            }
            shown.remove(at);
        }
        let mut widths: Vec<(usize, usize)> = shown.iter().map(|n| (*n, least(*n))).collect();
        let room = room(widths.len());
        let taken = |widths: &[(usize, usize)]| widths.iter().map(|(_, width)| width).sum::<usize>();
        while taken(&widths) > room {
            // Words are broken only as a last resort.
            let widest = |(n, width): &&mut (usize, usize)| (*width > self.longest_word(*n), *width);
            let Some((_, widest)) = widths.iter_mut().max_by_key(widest) else { break };
            *widest -= 1;
        }
        while taken(&widths) < room {
            let growing = widths.iter_mut().filter(|(n, width)| *width < self.full(*n));
            let Some((_, narrowest)) = growing.min_by_key(|(_, width)| *width) else { break };
            *narrowest += 1;
        }
        widths
    }

    fn cells(&self, n: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().map(move |row| row[n].as_str()).chain([self.columns[n].head])
    }

    /// The width of a column without wrapping.
    fn full(&self, n: usize) -> usize {
        self.cells(n).map(|cell| cell.chars().count()).max().unwrap_or_default()
    }

    fn longest_word(&self, n: usize) -> usize {
        let words = self.cells(n).flat_map(|cell| cell.split(' '));
        words.map(|word| word.chars().count()).max().unwrap_or_default().min(WORD_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[always("name"), dropped(1, "zone"), dropped(2, "id"), always("why")]);
        table.row(["web", "nova", "11111111-1111-4111-8111-111111111111", &"why not ".repeat(10)]);
        table
    }

    fn heads(table: &Table, width: usize) -> Vec<&'static str> {
        table.layout(width).into_iter().map(|(n, _)| table.columns[n].head).collect()
    }

    #[test]
    fn the_columns_that_matter_least_go_first() {
        assert_eq!(heads(&table(), 200), ["name", "zone", "id", "why"]);
        assert_eq!(heads(&table(), 77), ["name", "zone", "id", "why"]);
        assert_eq!(heads(&table(), 76), ["name", "zone", "why"]);
        assert_eq!(heads(&table(), 36), ["name", "why"]);
        assert_eq!(heads(&table(), 12), ["name", "why"], "these never go");
    }

    #[test]
    fn a_table_is_never_wider_than_it_may_be() {
        for width in 20..200 {
            let text = table().render(width).to_string();
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| *word == "not").count();
            assert!(words == 10 || width < 30, "{width}: nothing is cut\n{text}");
        }
    }

    #[test]
    fn columns_with_nothing_in_them_are_left_out() {
        let mut table = Table::new(&[always("name"), dropped(1, "why")]);
        table.row(["web", ""]);
        assert_eq!(heads(&table, 100), ["name"]);
    }

    #[test]
    fn nothing_in_a_cell_breaks_the_table() {
        let mut table = Table::pairs();
        table.row(["name", "a\nb\tc"]);
        let text = Screen::printed(|screen| table.print(screen));
        assert!(text.contains(r"a\nb\tc"), "{text}");
    }

    #[test]
    fn lines_are_wrapped_at_spaces() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("abcdef g", 4), ["abcdef", "g"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
