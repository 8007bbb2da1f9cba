//! The picture: one panel a scenario, a bar a row, best first, on a logarithmic scale; the whisker runs from the fastest round to
//! the upper quartile. Selvedge's own bars stand out in colour.

use crate::report::{number, Row, Table};
use crate::stats::Summary;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;
use std::path::Path;

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 1240;
const MARGIN: i32 = 28;
const BAR: i32 = 15;
const STEP: i32 = 21;
const TITLE: i32 = 52;
const PANEL_GAP: i32 = 34;
const LABELS: i32 = 250;
const VALUES: i32 = 76;

const OWN: RGBColor = RGBColor(0xC2, 0x41, 0x0C);
const OWN_VARIANT: RGBColor = RGBColor(0xF0, 0x9A, 0x5B);
const PEER: RGBColor = RGBColor(0x7B, 0x8D, 0xA6);
const INK: RGBColor = RGBColor(0x1F, 0x29, 0x33);
const PALE: RGBColor = RGBColor(0x6B, 0x76, 0x83);
const GRID: RGBColor = RGBColor(0xE3, 0xE7, 0xEC);

pub fn draw(path: &Path, headline: &str, tables: &[Table]) -> Result<(), Box<dyn Error>> {
    let tables: Vec<&Table> = tables.iter().filter(|t| !t.ranking().is_empty()).collect();
    // Two columns, each panel to the shorter one, so that the page has no holes.
    let mut columns = [(Vec::new(), 0), (Vec::new(), 0)];
    for table in tables {
        let height = panel_height(table);
        let shorter = usize::from(columns[1].1 < columns[0].1);
        columns[shorter].0.push((table, columns[shorter].1));
        columns[shorter].1 += height + PANEL_GAP;
    }
    let top = 86;
    let height = top + columns[0].1.max(columns[1].1) + MARGIN;
    let root = SVGBackend::new(path, (WIDTH, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(headline, (MARGIN, 22), font(22, INK, true)))?;
    root.draw(&Text::new(
        "median of the rounds, best first; shorter is better; logarithmic scales; the whisker runs from the fastest round to the upper quartile",
        (MARGIN, 52),
        font(13, PALE, false),
    ))?;
    let width = (WIDTH as i32 - 3 * MARGIN) / 2;
    for (number, (panels, _)) in columns.iter().enumerate() {
        let left = MARGIN + number as i32 * (width + MARGIN);
        for (table, offset) in panels {
            panel(&root, table, left, top + offset, width)?;
        }
    }
    root.present()?;
    Ok(())
}

fn panel_height(table: &Table) -> i32 {
    TITLE + table.ranking().len() as i32 * STEP
}

fn font(size: i32, color: RGBColor, bold: bool) -> TextStyle<'static> {
    let style = if bold {
        FontStyle::Bold
    } else {
        FontStyle::Normal
    };
    FontDesc::new(FontFamily::SansSerif, f64::from(size), style).color(&color)
}

/// Decades around all that is drawn; a value at or below zero stands at the left edge.
struct Scale {
    low: f64,
    high: f64,
    left: i32,
    width: i32,
}

impl Scale {
    fn over(rows: &[(&Row, Summary)], left: i32, width: i32) -> Scale {
        let positive = rows
            .iter()
            .flat_map(|(_, s)| [s.min, s.median, s.p75])
            .filter(|v| *v > 0.0);
        let (low, high) = positive.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        // Bars need some length even for the best, so the scale begins below it.
        let low = (low * 0.45).log10();
        let high = (high * 1.1).log10();
        Scale {
            low,
            high: high.max(low + 0.3),
            left,
            width,
        }
    }

    fn x(&self, value: f64) -> i32 {
        if value <= 0.0 {
            return self.left;
        }
        let share = (value.log10() - self.low) / (self.high - self.low);
        self.left + (share.clamp(0.0, 1.0) * f64::from(self.width)) as i32
    }

    /// Powers of ten, with 2 and 5 between them where they are few.
    fn ticks(&self) -> Vec<f64> {
        let decades = self.high - self.low;
        let steps: &[f64] = if decades < 1.7 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        ((self.low.floor() as i32)..=(self.high.ceil() as i32))
            .flat_map(|exponent| steps.iter().map(move |step| step * 10f64.powi(exponent)))
            .filter(|tick| (self.low..=self.high).contains(&tick.log10()))
            .collect()
    }
}

fn panel(
    root: &Canvas,
    table: &Table,
    left: i32,
    top: i32,
    width: i32,
) -> Result<(), Box<dyn Error>> {
    let rows = table.ranking();
    root.draw(&Text::new(
        table.scenario.title.replace('`', ""),
        (left, top),
        font(15, INK, true),
    ))?;
    let right_text = Pos::new(HPos::Right, VPos::Center);
    let scale = Scale::over(&rows, left + LABELS, width - LABELS - VALUES);
    let bars = top + TITLE;
    let bottom = bars + rows.len() as i32 * STEP - (STEP - BAR);
    root.draw(&Text::new(
        table.scenario.unit,
        (left, top + 24),
        font(12, PALE, false),
    ))?;
    for tick in scale.ticks() {
        let x = scale.x(tick);
        root.draw(&PathElement::new([(x, bars - 6), (x, bottom + 4)], GRID))?;
        let style = font(11, PALE, false).pos(Pos::new(HPos::Center, VPos::Bottom));
        root.draw(&Text::new(tick_label(tick), (x, bars - 9), style))?;
    }
    // The cost of hooks is measured on Selvedge alone.
    let all_own = table.scenario.id == "hooks";
    for (position, (row, s)) in rows.iter().enumerate() {
        let own = all_own || row.is_own();
        let y = bars + position as i32 * STEP;
        let middle = y + BAR / 2;
        let main = row.label.contains("**");
        let color = match (main, own) {
            (true, _) => OWN,
            (false, true) => OWN_VARIANT,
            (false, false) => PEER,
        };
        let end = scale.x(s.median).max(scale.left + 2);
        root.draw(&Rectangle::new(
            [(scale.left, y), (end, y + BAR)],
            color.filled(),
        ))?;
        let whisker = [(scale.x(s.min), middle), (scale.x(s.p75), middle)];
        root.draw(&PathElement::new(whisker, INK.stroke_width(1)))?;
        for (x, _) in whisker {
            root.draw(&PathElement::new(
                [(x, middle - 3), (x, middle + 3)],
                INK.stroke_width(1),
            ))?;
        }
        let ink = if own { OWN } else { INK };
        let name = font(13, ink, main).pos(right_text);
        root.draw(&Text::new(
            row.plain_label(),
            (scale.left - 8, middle),
            name,
        ))?;
        let value = font(12, ink, main).pos(Pos::new(HPos::Left, VPos::Center));
        let x = end.max(scale.x(s.p75)) + 7;
        root.draw(&Text::new(number(s.median), (x, middle), value))?;
    }
    Ok(())
}

fn tick_label(tick: f64) -> String {
    if tick >= 1e6 {
        format!("{:.0} M", tick / 1e6)
    } else if tick >= 1e3 {
        format!("{:.0} k", tick / 1e3)
    } else {
        format!("{tick}")
    }
}
