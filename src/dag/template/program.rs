//! Relinks minijinja's instructions: only known ones, no borrowed text, and our operators where size matters.
//!
//! minijinja's own compiled templates borrow their source and hold operators that format or compare whole values
//! before fuel is asked (`~`, `==`, `in`, printing). Here each instruction is copied by name: what this file does
//! not name does not run.

use std::fmt;

use minijinja::Value;
use minijinja::machinery::{Instruction, Instructions};

use super::environment;
use super::operators as op;
use super::scope::{KEYS, NAMES};

/// Instructions that own all they need.
pub(super) struct Program(pub(super) Instructions<'static>);

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Program")
    }
}

/// Different variables of loops in one template.
pub(super) const MAX_LOCALS: usize = 16;

/// Variables of loops get these names instead of their own, which would have to be borrowed.
const LOCALS: [&str; MAX_LOCALS] =
    ["\0a", "\0b", "\0c", "\0d", "\0e", "\0f", "\0g", "\0h", "\0i", "\0j", "\0k", "\0l", "\0m", "\0n", "\0o", "\0p"];

/// An operator is called as a filter; minijinja keeps no slot for it.
const NO_SLOT: u8 = !0;

impl Program {
    pub(super) fn relink(compiled: &Instructions<'_>) -> Result<Self, String> {
        let all = (0..).map_while(|index| compiled.get(index)).collect::<Vec<_>>();
        let mut relink = Relink { locals: Vec::new(), out: Vec::new() };
        for instruction in &all {
            if let Instruction::StoreLocal(name) = instruction {
                relink.store(name)?;
            }
        }
        // Where each old instruction begins, and one past the last: where a jump to the end goes.
        let mut begins = Vec::with_capacity(all.len() + 1);
        for instruction in &all {
            begins.push(relink.out.len());
            relink.instruction(instruction)?;
        }
        begins.push(relink.out.len());
        let mut program = Instructions::new("template", "");
        let mut old = 0;
        for (index, instruction) in relink.out.into_iter().enumerate() {
            while begins.get(old + 1).is_some_and(|next| *next <= index) {
                old += 1;
            }
            let jump = |target: u32| -> Result<u32, String> {
                let begin = begins.get(target as usize).ok_or("a jump goes nowhere")?;
                u32::try_from(*begin).map_err(|_| "the template is too long".to_owned())
            };
            let instruction = match instruction {
                Instruction::Jump(target) => Instruction::Jump(jump(target)?),
                Instruction::JumpIfFalse(target) => Instruction::JumpIfFalse(jump(target)?),
                Instruction::JumpIfFalseOrPop(target) => Instruction::JumpIfFalseOrPop(jump(target)?),
                Instruction::JumpIfTrueOrPop(target) => Instruction::JumpIfTrueOrPop(jump(target)?),
                Instruction::Iterate(target) => Instruction::Iterate(jump(target)?),
                other => other,
            };
            let place = u32::try_from(old).unwrap_or(u32::MAX);
            match (compiled.get_span(place), compiled.get_line(place)) {
                (Some(span), _) => program.add_with_span(instruction, span),
                (None, Some(line)) => program.add_with_line(instruction, u16::try_from(line).unwrap_or(u16::MAX)),
                (None, None) => program.add(instruction),
            };
        }
        Ok(Self(program))
    }
}

struct Relink<'s> {
    locals: Vec<&'s str>,
    out: Vec<Instruction<'static>>,
}

impl<'s> Relink<'s> {
    fn store(&mut self, name: &'s str) -> Result<(), String> {
        if !self.locals.contains(&name) {
            if self.locals.len() == LOCALS.len() {
                return Err(format!("more than {MAX_LOCALS} different loop variables in one template"));
            }
            self.locals.push(name);
        }
        Ok(())
    }

    fn local(&self, name: &str) -> Option<&'static str> {
        self.locals.iter().position(|local| *local == name).map(|index| LOCALS[index])
    }

    fn key(&mut self, name: &str) {
        self.out.push(Instruction::LoadConst(Value::from(name)));
        self.out.push(Instruction::GetItem);
    }

    fn operator(&mut self, name: &'static str, operands: u16) {
        self.out.push(Instruction::ApplyFilter(name, Some(operands), NO_SLOT));
    }

    fn instruction(&mut self, instruction: &Instruction<'_>) -> Result<(), String> {
        use Instruction as I;
        match *instruction {
            I::EmitRaw(text) => {
                self.out.push(I::LoadConst(Value::from(text)));
                self.operator(op::PRINT, 1);
                self.out.push(I::Emit);
            }
            I::Emit => {
                self.operator(op::PRINT, 1);
                self.out.push(I::Emit);
            }
            I::StoreLocal(name) => {
                let local = self.local(name).expect("all variables of loops were collected");
                self.out.push(I::StoreLocal(local));
            }
            I::Lookup(name) => match (self.local(name), NAMES.iter().find(|known| **known == name)) {
                (Some(local), _) => self.out.push(I::Lookup(local)),
                (None, Some(known)) => self.out.push(I::Lookup(known)),
                (None, None) if name == "loop" => self.out.push(I::Lookup("loop")),
                (None, None) => {
                    self.out.push(I::Lookup(KEYS));
                    self.key(name);
                }
            },
            I::GetAttr(name) => self.key(name),
            I::GetItem => self.operator(op::ITEM, 2),
            I::Slice => self.operator(op::SLICE, 4),
            I::Mul => self.operator(op::TIMES, 2),
            I::StringConcat => self.operator(op::JOIN, 2),
            I::Eq => self.operator(op::EQ, 2),
            I::Ne => self.operator(op::NE, 2),
            I::Gt => self.operator(op::GT, 2),
            I::Gte => self.operator(op::GE, 2),
            I::Lt => self.operator(op::LT, 2),
            I::Lte => self.operator(op::LE, 2),
            I::In => self.operator(op::IN, 2),
            I::ApplyFilter(name, count, slot) => {
                let name = environment::named(environment::FILTERS, name)?;
                self.out.push(I::ApplyFilter(name, count, slot));
            }
            I::PerformTest(name, count, slot) => {
                let name = environment::named(environment::TESTS, name)?;
                self.out.push(I::PerformTest(name, count, slot));
            }
            I::CallFunction(name, count) => {
                let name = environment::named(environment::FUNCTIONS, name)?;
                self.out.push(I::CallFunction(name, count));
            }
            I::CallMethod(name, count) => {
                let name = environment::named(environment::METHODS, name)?;
                self.out.push(I::CallMethod(name, count));
            }
            I::LoadConst(ref value) => self.out.push(I::LoadConst(value.clone())),
            I::BuildMap(count) => self.out.push(I::BuildMap(count)),
            I::BuildKwargs(count) => self.out.push(I::BuildKwargs(count)),
            I::BuildList(count) => self.out.push(I::BuildList(count)),
            I::BuildTuple(count) => self.out.push(I::BuildTuple(count)),
            I::UnpackList(count) => self.out.push(I::UnpackList(count)),
            I::PushLoop(flags) => self.out.push(I::PushLoop(flags)),
            // Jump targets are those of the old program until all are known.
            I::Jump(target) => self.out.push(I::Jump(target)),
            I::JumpIfFalse(target) => self.out.push(I::JumpIfFalse(target)),
            I::JumpIfFalseOrPop(target) => self.out.push(I::JumpIfFalseOrPop(target)),
            I::JumpIfTrueOrPop(target) => self.out.push(I::JumpIfTrueOrPop(target)),
            I::Iterate(target) => self.out.push(I::Iterate(target)),
            // Numbers are checked, texts are paid for before they are joined, lists are joined lazily.
            I::Add => self.out.push(I::Add),
            I::Sub => self.out.push(I::Sub),
            I::Div => self.out.push(I::Div),
            I::IntDiv => self.out.push(I::IntDiv),
            I::Rem => self.out.push(I::Rem),
            I::Pow => self.out.push(I::Pow),
            I::Neg => self.out.push(I::Neg),
            I::Not => self.out.push(I::Not),
            I::PushDidNotIterate => self.out.push(I::PushDidNotIterate),
            I::PopLoopFrame => self.out.push(I::PopLoopFrame),
            I::DupTop => self.out.push(I::DupTop),
            I::DiscardTop => self.out.push(I::DiscardTop),
            I::Swap => self.out.push(I::Swap),
            _ => return Err("the template does something that Tradewind does not know".to_owned()),
        }
        Ok(())
    }
}
