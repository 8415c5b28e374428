//! Draws a DAG as an SVG file: from left to right, groups as frames, every state as a colour and a word.
//!
//! The file needs nothing else: no script, no font, no style sheet. It follows the reader's light or dark scheme.

mod geometry;

use std::fmt::Write;

use super::layers::Layered;
use super::{Drawing, DrawnTask, Kind};
use geometry::{Geometry, Rectangle, Wire};

/// Colours by state: for light and for dark. Others are grey.
const COLOURS: [(&str, &str, &str); 9] = [
    ("success", "#1a7f37", "#3fb950"),
    ("failed", "#cf222e", "#ff6b64"),
    ("upstream_failed", "#bc4c00", "#f0883e"),
    ("running", "#0969da", "#58a6ff"),
    ("up_for_retry", "#9a6700", "#d8a21b"),
    ("deferred", "#8250df", "#bc8cff"),
    ("skipped", "#bf3989", "#f778ba"),
    ("cancelled", "#82071e", "#d9807c"),
    ("queued", "#57606a", "#a8b1bb"),
];

/// All that does not depend on the scheme.
const STYLE: &str = "\
text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12px}
.said,.title{font-size:10px}.word{font-size:10px;font-weight:600}
.box,.line{stroke-width:1.2}.line{fill:none}.set .box{stroke-dasharray:5 3}
";

/// Colours of what is not a state's, each written out: of what shows SVG, browsers alone know variables.
struct Scheme {
    page: &'static str,
    text: &'static str,
    faint: &'static str,
    line: &'static str,
    /// The inside of a task's box.
    inside: &'static str,
    frame: &'static str,
    edge: &'static str,
}

const LIGHT: Scheme = Scheme {
    page: "#fff",
    text: "#1f2328",
    faint: "#59636e",
    line: "#8c959f",
    inside: "#fff",
    frame: "#f6f8fa",
    edge: "#d1d9e0",
};

const DARK: Scheme = Scheme {
    page: "#0d1117",
    text: "#e6edf3",
    faint: "#9198a1",
    line: "#6e7781",
    inside: "#161b22",
    frame: "#11161d",
    edge: "#3d444d",
};

/// The whole file. The same drawing gives the same text, byte for byte.
pub fn svg(drawing: &Drawing) -> String {
    let mut layered = Layered::new(drawing);
    let order = super::order::order(&mut layered);
    let faces: Vec<Face> = drawing.tasks.iter().map(Face::new).collect();
    let widths: Vec<f64> = layered.items.iter().map(|item| item.task.map_or(0.0, |task| faces[task].width())).collect();
    let geometry = Geometry::new(&layered, &order, &widths);
    let (width, height) = (geometry.width, geometry.height);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>{} tasks</title>\n<style>\n{STYLE}",
        drawing.tasks.len()
    );
    write_colours(&mut out, drawing);
    // Where `background` is not known, it would be dark on dark on a dark page.
    out.push_str("</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n");
    for (group, frame) in layered.groups.iter().zip(&geometry.frames) {
        write_frame(&mut out, &group.id, frame);
    }
    geometry.wires.iter().for_each(|wire| write_wire(&mut out, wire));
    for (item, place) in layered.items.iter().zip(&geometry.boxes) {
        if let Some(task) = item.task {
            write_task(&mut out, &drawing.tasks[task], &faces[task], place);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// First for light: what knows no media queries takes that.
fn write_colours(out: &mut String, drawing: &Drawing) {
    write_scheme(out, drawing, &LIGHT, |colours| colours.1);
    out.push_str("@media(prefers-color-scheme:dark){\n");
    write_scheme(out, drawing, &DARK, |colours| colours.2);
    out.push_str("}\n");
}

/// Of the states only those that occur, as classes `s0`, `s1` and so on.
fn write_scheme(
    out: &mut String,
    drawing: &Drawing,
    scheme: &Scheme,
    of_state: fn(&(&'static str, &'static str, &'static str)) -> &'static str,
) {
    let Scheme { page, text, faint, line, inside, frame, edge } = scheme;
    put(
        out,
        format_args!(
            "svg{{background:{page}}}.page{{fill:{page}}}text{{fill:{text}}}.said,.title{{fill:{faint}}}\n\
             .frame{{fill:{frame};stroke:{edge}}}.inner{{fill:{page}}}\n\
             .line{{stroke:{line}}}.knot,.tip,.mark,.word{{fill:{line}}}.box{{fill:{inside};stroke:{line}}}\n"
        ),
    );
    let occurs = |state: &str| drawing.tasks.iter().any(|task| task.state.as_deref() == Some(state));
    for (number, colours) in COLOURS.iter().enumerate().filter(|(_, colours)| occurs(colours.0)) {
        let colour = of_state(colours);
        put(
            out,
            format_args!(".s{number} .box{{stroke:{colour}}}.s{number} .mark,.s{number} .word{{fill:{colour}}}\n"),
        );
    }
}

/// What is written on a task's box.
struct Face {
    id: String,
    word: String,
    said: String,
}

/// Of a character, as wide as monospaced fonts have it, in the two sizes used.
const LARGE: f64 = 7.3;
const SMALL: f64 = 6.1;
const LONGEST: usize = 40;

impl Face {
    fn new(task: &DrawnTask) -> Self {
        let instances = task.kind.instances(true).map(|instances| format!(" {instances}")).unwrap_or_default();
        let said: Vec<&str> = task.kind.word().into_iter().chain(task.label.as_deref()).collect();
        Self {
            id: shorten(&task.id) + &instances,
            word: task.state.as_deref().map(shorten).unwrap_or_default(),
            said: shorten(&said.join(" · ")),
        }
    }

    fn width(&self) -> f64 {
        let word = if self.word.is_empty() || self.said.is_empty() { 0 } else { 2 };
        let second = columns(&self.word) + word + columns(&self.said);
        (columns(&self.id) as f64 * LARGE).max(second as f64 * SMALL) + 26.0
    }
}

fn columns(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

fn shorten(text: &str) -> String {
    if columns(text) <= LONGEST {
        return text.to_owned();
    }
    let mut short = String::new();
    for character in text.chars() {
        if columns(&short) + 2 > LONGEST {
            break;
        }
        short.push(character);
    }
    short + "…"
}

fn write_frame(out: &mut String, id: &str, frame: &Rectangle) {
    let Rectangle { x, y, width, height } = frame;
    let inner = if id.matches('.').count() % 2 == 1 { " inner" } else { "" };
    put(
        out,
        format_args!(
            "<g><title>{id}</title><rect class=\"frame{inner}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\" rx=\"10\"/><text class=\"title\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>\n",
            x + 10.0,
            y + 15.0,
            escape(&fitting(id.rsplit('.').next().unwrap_or(id), width - 20.0)),
            id = escape(id),
        ),
    );
}

/// As much of a small text as there is room for.
fn fitting(text: &str, room: f64) -> String {
    let most = (room / SMALL) as usize;
    if columns(text) <= most {
        text.to_owned()
    } else {
        text.chars().take(most.saturating_sub(1)).collect::<String>() + "…"
    }
}

fn write_wire(out: &mut String, wire: &Wire) {
    match *wire {
        Wire::Line { from: (x1, y1), to: (x2, y2), tip } => {
            let bend = ((x2 - x1) / 2.0).max(12.0);
            let end = if tip { x2 - 6.0 } else { x2 };
            let path = if (y1 - y2).abs() < 0.05 {
                format!("M{x1:.1} {y1:.1}H{end:.1}")
            } else {
                format!("M{x1:.1} {y1:.1}C{:.1} {y1:.1} {:.1} {y2:.1} {end:.1} {y2:.1}", x1 + bend, end - bend)
            };
            put(out, format_args!("<path class=\"line\" d=\"{path}\"/>\n"));
            if tip {
                put(out, format_args!("<path class=\"tip\" d=\"M{x2:.1} {y2:.1}l-8 -4v8z\"/>\n"));
            }
        }
        Wire::Knot((x, y)) => {
            put(out, format_args!("<circle class=\"knot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>\n"))
        }
    }
}

fn write_task(out: &mut String, task: &DrawnTask, face: &Face, place: &Rectangle) {
    let Rectangle { x, y, width, height } = *place;
    let state = task.state.as_deref().and_then(|state| COLOURS.iter().position(|known| known.0 == state));
    let class = state.map(|number| format!(" s{number}")).unwrap_or_default();
    let set = if matches!(task.kind, Kind::Setup | Kind::Teardown) { " set" } else { "" };
    let about: Vec<&str> =
        [task.state.as_deref(), task.kind.word(), task.label.as_deref()].into_iter().flatten().collect();
    let title = if about.is_empty() { task.id.clone() } else { format!("{}: {}", task.id, about.join(", ")) };
    put(out, format_args!("<g class=\"task{set}{class}\"><title>{}</title>", escape(&title)));
    let mut outline = |shift: f64| {
        let (x, y) = (x + shift, y + shift);
        let shape = match task.kind {
            // Pointed on the right: from here not all ways are taken.
            Kind::Branch => format!(
                "<path class=\"box\" d=\"M{x:.1} {y:.1}h{:.1}l10 {:.1}l-10 {:.1}h-{:.1}z\"/>",
                width - 10.0,
                height / 2.0,
                height / 2.0,
                width - 10.0
            ),
            _ => format!(
                "<rect class=\"box\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\"/>"
            ),
        };
        out.push_str(&shape);
    };
    if matches!(task.kind, Kind::Mapped(_)) {
        outline(6.0);
        outline(3.0);
    }
    outline(0.0);
    if task.state.is_some() {
        put(
            out,
            format_args!(
                "<rect class=\"mark\" x=\"{x:.1}\" y=\"{:.1}\" width=\"4\" height=\"{:.1}\" rx=\"1\"/>",
                y + 6.0,
                height - 12.0
            ),
        );
    }
    let lone = face.word.is_empty() && face.said.is_empty();
    let baseline = if lone { y + height / 2.0 + 4.0 } else { y + 16.0 };
    put(out, format_args!("<text x=\"{:.1}\" y=\"{baseline:.1}\">{}</text>", x + 12.0, escape(&face.id)));
    if !face.word.is_empty() {
        put(
            out,
            format_args!(
                "<text class=\"word\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 12.0,
                y + 30.0,
                escape(&face.word)
            ),
        );
    }
    if !face.said.is_empty() {
        let after = if face.word.is_empty() { 0.0 } else { (columns(&face.word) + 2) as f64 * SMALL };
        put(
            out,
            format_args!(
                "<text class=\"said\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 12.0 + after,
                y + 30.0,
                escape(&face.said)
            ),
        );
    }
    out.push_str("</g>\n");
}

/// For text and attributes. What XML cannot hold, and what turns the writing direction, becomes `�`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            _ if character.is_control() => out.push('\u{fffd}'),
            '\u{fffe}' | '\u{ffff}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push('\u{fffd}');
            }
            _ => out.push(character),
        }
    }
    out
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String does not fail");
}
