// Command changes says what is different between two JSON values.
//
// It reads {"before": …, "after": …} from stdin and writes a list of {"at", "was", "is"} to stdout, in the order of
// their places. Nothing here knows Tradewind.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
)

// The exit code when stdin is not what it should be; the package flag ends with 2 for wrong arguments.
const badInput = 3

func main() {
	log.SetFlags(0)
	ignore := flag.String("ignore", "", "names of members to leave out, separated by commas")
	flag.Parse()

	before, after, err := read(os.Stdin)
	if err != nil {
		log.Printf("bad input: %v", err)
		os.Exit(badInput)
	}
	differ := differ{ignored: strings.Split(*ignore, ","), changes: []change{}}
	differ.compare("", before, after)
	log.Printf("%d values compared, %d changes", differ.compared, len(differ.changes))
	if err := json.NewEncoder(os.Stdout).Encode(differ.changes); err != nil {
		log.Fatal(err)
	}
}

func read(from io.Reader) (before, after any, err error) {
	var pair map[string]any
	if err := json.NewDecoder(from).Decode(&pair); err != nil {
		return nil, nil, err
	}
	for _, name := range []string{"before", "after"} {
		if _, found := pair[name]; !found {
			return nil, nil, fmt.Errorf("there is no %q", name)
		}
	}
	return pair["before"], pair["after"], nil
}
