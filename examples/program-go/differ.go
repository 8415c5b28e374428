package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// change is a difference in one place. What was not there, or is not any more, has no value.
type change struct {
	At  string `json:"at"` // a JSON pointer (RFC 6901)
	Was *any   `json:"was,omitempty"`
	Is  *any   `json:"is,omitempty"`
}

type differ struct {
	ignored  []string
	compared int
	changes  []change
}

var escape = strings.NewReplacer("~", "~0", "/", "~1")

// compare goes into objects and lists where both values are one, and compares everything else as a whole.
func (d *differ) compare(at string, was, is any) {
	wasObject, wasOne := was.(map[string]any)
	isObject, isOne := is.(map[string]any)
	if wasOne && isOne {
		d.compareObjects(at, wasObject, isObject)
		return
	}
	wasList, wasOne := was.([]any)
	isList, isOne := is.([]any)
	if wasOne && isOne {
		d.compareLists(at, wasList, isList)
		return
	}
	d.compared++
	if !reflect.DeepEqual(was, is) {
		d.changes = append(d.changes, change{at, &was, &is})
	}
}

func (d *differ) compareObjects(at string, was, is map[string]any) {
	names := make([]string, 0, len(was)+len(is))
	for name := range was {
		names = append(names, name)
	}
	for name := range is {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if slices.Contains(d.ignored, name) {
			continue
		}
		at := at + "/" + escape.Replace(name)
		wasValue, wasThere := was[name]
		isValue, isThere := is[name]
		switch {
		case wasThere && isThere:
			d.compare(at, wasValue, isValue)
		case wasThere:
			d.changes = append(d.changes, change{At: at, Was: &wasValue})
		default:
			d.changes = append(d.changes, change{At: at, Is: &isValue})
		}
	}
}

func (d *differ) compareLists(at string, was, is []any) {
	for i := 0; i < max(len(was), len(is)); i++ {
		at := fmt.Sprintf("%s/%d", at, i)
		switch {
		case i >= len(is):
			d.changes = append(d.changes, change{At: at, Was: &was[i]})
		case i >= len(was):
			d.changes = append(d.changes, change{At: at, Is: &is[i]})
		default:
			d.compare(at, was[i], is[i])
		}
	}
}
