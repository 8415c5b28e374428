// Reshapes texts. What it exports is said in `wit/text.wit`; nothing here knows Tradewind.

export function slugs(titles) {
    const taken = new Set();
    return titles.map((title) => {
        const slug = slugOf(title) || 'untitled';
        let free = slug;
        for (let count = 2; taken.has(free); count++) {
            free = `${slug}-${count}`;
        }
        taken.add(free);
        return free;
    });
}

// What is thrown is the error of the `result`.
export function flatten(json) {
    try {
        const rows = [...leaves('', JSON.parse(json))];
        // The log of the task.
        console.error(`${rows.length} leaves`);
        return rows;
    } catch (error) {
        throw error.message;
    }
}

// The engine is built without the tables of Unicode: no `normalize`, no `\p{…}`.
const PLAIN = Object.entries({
    a: 'àáâãå', ae: 'äæ', c: 'çčć', e: 'èéêëěę', i: 'ìíîï', l: 'ł', n: 'ñňń', o: 'òóôõø', oe: 'öœ', s: 'šś', ss: 'ß', u: 'ùúûů', ue: 'ü', y: 'ýÿ', z: 'žźż',
});
const PLAIN_OF = new Map(PLAIN.flatMap(([plain, letters]) => [...letters].map((letter) => [letter, plain])));

function slugOf(title) {
    const plain = [...title.toLowerCase()].map((letter) => PLAIN_OF.get(letter) ?? letter);
    return plain.join('').replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');
}

function* leaves(pointer, value) {
    if (value === null) {
        yield { pointer, value: { tag: 'null' } };
    } else if (typeof value === 'object') {
        for (const [key, inner] of Object.entries(value)) {
            yield* leaves(`${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`, inner);
        }
    } else {
        const tag = { boolean: 'boolean', number: 'number', string: 'text' }[typeof value];
        yield { pointer, value: { tag, val: value } };
    }
}
