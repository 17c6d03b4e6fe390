//! Probes, and statements about variables and maps.

use super::grow::{Content, Grower, I64, Map, Ty, Var};
use super::tree::Node;

impl Grower {
    pub(super) fn probe(&mut self, name: &str, first: bool) -> Node {
        self.vars.clear();
        let predicate = if !first && self.chance(3) {
            let cond = self.condition(1);
            Node::new("predicate", "", "/§/ ", vec![cond])
        } else {
            Node::new("predicate", "", "", Vec::new())
        };
        let mut statements = Vec::new();
        if first {
            for map in self.maps.clone() {
                statements.push(self.store(&map));
                self.assigned += 1;
            }
        }
        self.budget = 3 + self.random.below(22);
        while self.budget > 0 {
            statements.push(self.statement());
        }
        Node::new("item", "", &format!("{name} §{{\n§}}\n"), vec![predicate, Node::list(statements)])
    }

    /// Any statement.
    pub(super) fn statement(&mut self) -> Node {
        self.budget = self.budget.saturating_sub(1);
        match self.random.below(26) {
            0..=5 => self.declare(),
            6 | 7 => self.reassign(),
            8..=11 => {
                let maps = self.maps.clone();
                match self.pick(&maps) {
                    Some(map) => self.store(&map),
                    None => self.declare(),
                }
            }
            12 => self.count_up(),
            13 => self.remove(),
            14..=18 => self.output(),
            19 => self.opaque(),
            _ => self.compound(),
        }
    }

    /// A new variable.
    pub(super) fn declare(&mut self) -> Node {
        let ty = self.ty(2);
        let value = self.value(&ty, 0);
        let name = format!("$v{}", self.fresh());
        self.vars.push(Var { name: name.clone(), ty: ty.clone(), writable: true });
        let form = match self.random.below(8) {
            0 => format!("let {name} = §;\n"),
            1 if matches!(ty, Ty::Int(..)) => format!("let {name}: {} = §;\n", ty.name()),
            2 => format!("{name} = {{ let $t{name} = §; $t{name} }};\n").replace("$t$", "$t"),
            _ => format!("{name} = §;\n"),
        };
        Node::new("statement", "", &form, vec![value])
    }

    pub(super) fn reassign(&mut self) -> Node {
        let found: Vec<Var> = self.vars.iter().filter(|v| v.writable).cloned().collect();
        let Some(var) = self.pick(&found) else { return self.declare() };
        if var.ty == I64 && self.chance(2) {
            let op = self.pick(&["+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="]).unwrap_or("+=");
            let value = self.value(&var.ty, 1);
            return Node::new("statement", "", &format!("{} {op} §;\n", var.name), vec![value]);
        }
        let value = self.value(&var.ty, 0);
        Node::new("statement", "", &format!("{} = §;\n", var.name), vec![value])
    }

    /// An assignment to a map.
    pub(super) fn store(&mut self, map: &Map) -> Node {
        let element = self.element(map, &format!("of {}", map.name), "");
        let value = match map.content.clone() {
            Content::Plain(ty) => self.value(&ty, 0),
            Content::Aggregate(aggregate) => self.aggregation(aggregate),
        };
        Node::new("statement", "", "§ = §;\n", vec![element, value])
    }

    pub(super) fn count_up(&mut self) -> Node {
        let counts = |m: &&Map| matches!(m.content, Content::Plain(Ty::Int(8, true)));
        let found: Vec<Map> = self.maps.iter().filter(counts).cloned().collect();
        let Some(map) = self.pick(&found) else { return self.reassign() };
        let element = self.element(&map, &format!("of {}", map.name), "");
        if self.chance(2) {
            let form = self.pick(&["§++;\n", "§--;\n", "++§;\n", "--§;\n"]).unwrap_or("§++;\n");
            return Node::new("statement", "", form, vec![element]);
        }
        let op = self.pick(&["+=", "-=", "|=", "^=", "*="]).unwrap_or("+=");
        let ty = if let Content::Plain(ty) = &map.content { ty.clone() } else { I64 };
        let value = self.value(&ty, 1);
        Node::new("statement", "", &format!("§ {op} §;\n"), vec![element, value])
    }

    pub(super) fn remove(&mut self) -> Node {
        let maps = self.maps.clone();
        let Some(map) = self.pick(&maps) else { return self.declare() };
        let call = if map.key.is_none() {
            Node::new("bool", "true", &format!("delete({})", map.name), Vec::new())
        } else if self.chance(2) {
            let element = self.element(&map, &format!("of {}", map.name), "");
            Node::new("bool", "true", "delete(§)", vec![element])
        } else {
            self.has_key(&map, "delete")
        };
        Node::new("statement", "", "§;\n", vec![call])
    }

    /// What differs from run to run: the verifier sees it, the comparison does not.
    pub(super) fn opaque(&mut self) -> Node {
        let texts = [
            "@opaque1[comm, pid] = nsecs;\n",
            "@opaque2 = kstack;\n",
            "@opaque3[ustack(5), tid] = count();\n",
            "@opaque4 = (curtask->pid, curtask->comm, curtask->parent->tgid);\n",
            "@opaque5[curtask->mm->pgd] = hist(nsecs % 1000);\n",
            "@opaque6[kstack(3)] = (comm, cpu, elapsed);\n",
            "@opaque7 = ksym(*(uint64 *)kptr(curtask));\n",
            "@opaque8[username, numaid] = lhist(rand % 100, 0, 100, 5);\n",
            "@opaque9 = strftime(\"%H:%M:%S\", nsecs);\n",
            "@opaque10[ntop(rand), macaddr(kptr(curtask))] = avg(elapsed);\n",
            "@opaque11 = curtask->se.vruntime;\n",
            "@opaque12[str(curtask->comm), usym(nsecs)] = max(rand);\n",
            "@opaque13 = buf(kptr(curtask), 24);\n",
        ];
        let text = self.pick(&texts).unwrap_or(";\n");
        Node::new("statement", "", text, Vec::new())
    }
}
