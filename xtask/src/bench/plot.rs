//! Stacked bars as SVG, nothing else: what the documentation needs.

use std::fmt::Write as _;

/// Bars that share a scale.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

/// One bar, in seconds. What is not a number is not drawn.
#[derive(Clone)]
pub(super) struct Bar {
    pub(super) label: &'static str,
    /// Lengths of its parts, from the left.
    pub(super) parts: [f64; 3],
    /// Shortest and longest of the whole.
    pub(super) range: [f64; 2],
}

const WIDTH: f64 = 860.0;
/// Where bars begin and where the longest ends; labels are to the left, numbers to the right.
const LEFT: f64 = 260.0;
const RIGHT: f64 = 780.0;
const BAR: f64 = 22.0;
const STEP: f64 = 30.0;
const TITLE: f64 = 30.0;
const COLOURS: [&str; 3] = ["#c9c9c9", "#2f6db3", "#8ab6de"];

/// Draws the panels below each other.
pub(super) fn draw(title: &str, panels: &[Panel]) -> String {
    let height = panels.iter().fold(TITLE + 10.0, |sum, panel| sum + height(panel));
    // Writing to a string does not fail.
    let mut svg = String::new();
    _ = writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="10" y="20" font-size="14">{title}</text>"##
    );
    let mut y = TITLE;
    for panel in panels {
        draw_panel(&mut svg, y, panel);
        y += self::height(panel);
    }
    svg.push_str("</svg>\n");
    svg
}

fn height(panel: &Panel) -> f64 {
    TITLE + STEP * panel.bars.len() as f64
}

fn draw_panel(svg: &mut String, top: f64, panel: &Panel) {
    let longest = panel.bars.iter().map(|bar| bar.range[1]).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (RIGHT - LEFT) / longest;
    _ = writeln!(svg, r#"<text x="10" y="{:.1}" font-weight="bold">{}</text>"#, top + 20.0, panel.title);
    for (number, bar) in panel.bars.iter().enumerate() {
        let y = top + TITLE + STEP * number as f64;
        _ = writeln!(
            svg,
            r#"<text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 8.0,
            y + 16.0,
            bar.label
        );
        let mut x = LEFT;
        for (part, colour) in bar.parts.iter().zip(COLOURS) {
            let width = part * scale;
            if width > 0.0 {
                _ = writeln!(
                    svg,
                    r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{BAR}" fill="{colour}"/>"#
                );
                x += width;
            }
        }
        let [least, most] = bar.range.map(|value| LEFT + value * scale);
        if most > 0.0 {
            let middle = y + BAR / 2.0;
            _ = writeln!(
                svg,
                r##"<path d="M{least:.1} {middle:.1}H{most:.1}" stroke="#000000" stroke-width="2"/>"##
            );
            let total: f64 = bar.parts.iter().sum();
            _ = writeln!(svg, r#"<text x="{:.1}" y="{:.1}">{total:.1} s</text>"#, most + 6.0, y + 16.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_width_and_the_others_are_to_scale() {
        let bar = |seconds: f64| Bar { label: "x", parts: [0.0, seconds, 0.0], range: [seconds, seconds] };
        let svg = draw("t", &[Panel { title: "p".into(), bars: vec![bar(10.0), bar(5.0), bar(f64::NAN)] }]);
        assert!(svg.contains(r#"width="520.0""#) && svg.contains(r#"width="260.0""#), "{svg}");
        assert_eq!(svg.matches(COLOURS[1]).count(), 2, "no bar for what was not measured");
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    }
}
