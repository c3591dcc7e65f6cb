package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/internal/submit"
)

// shownRefusals is the number of refused items that are printed. The file of
// --refused gets all of them.
const shownRefusals = 50

// submission is one run of mass submit.
type submission struct {
	in      invocation
	path    string // "-" is standard input
	refused string // file for the refused items; "" for none
	wait    bool
	read    submit.ReaderOptions
	send    submit.Options
}

// runSubmit sends the submissions of a file to a running API.
func runSubmit(ctx context.Context, in invocation) (err error) {
	s, err := parseSubmit(in)
	if err != nil {
		return err
	}
	file, total, err := s.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	reader, err := submit.NewReader(file, s.read)
	if err != nil {
		return err
	}
	note, done, err := s.noteRefusals()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()

	fmt.Fprintf(in.stdout, "Submitting %s to %s\n", s.name(), s.send.URL)
	bar := newBar(in.stdout, total, "submitted")
	s.send.Progress, s.send.Refused = bar.reach, note
	started := time.Now()
	sum, sendErr := submit.Run(ctx, reader, s.send)
	bar.finish()
	if err := s.report(sum, total, time.Since(started)); err != nil {
		return err
	}
	if sendErr != nil {
		return s.explain(ctx, sendErr)
	}
	if s.wait {
		if err := s.waitFor(ctx, sum.IDs); err != nil {
			return err
		}
	}
	if sum.Refused > 0 {
		return fmt.Errorf("%d of %d items were refused", sum.Refused, sum.Read)
	}
	return nil
}

const submitAbout = `Usage: mass submit [flags] FILE|-

Submits every item of a file, or of standard input: NDJSON or a JSON array of submissions, or a CSV
file of signals whose header names the fields. Running the same command again within 24 hours
submits nothing twice.

Flags, with their environment variables and defaults:
`

func parseSubmit(in invocation) (*submission, error) {
	s := &submission{in: in}
	fs := flag.NewFlagSet("mass submit", flag.ContinueOnError)
	fs.SetOutput(in.stdout)
	fs.Usage = func() {
		fmt.Fprint(in.stdout, submitAbout)
		fs.VisitAll(func(f *flag.Flag) { fmt.Fprintf(in.stdout, "  --%s\n        %s\n", f.Name, f.Usage) })
	}
	dev := readDevFile(cmp.Or(in.getenv("MASS_DATA_DIR"), config.Default().DataDir))
	fs.StringVar(&s.send.URL, "url", cmp.Or(in.getenv("MASS_URL"), dev.URL, "http://localhost:8000"), "URL of the API (MASS_URL, default that of a running mass dev, else http://localhost:8000)")
	token := fs.String("token", "", "API key or access token (MASS_TOKEN, default that of a running mass dev); prefer MASS_TOKEN: "+
		"other accounts on this machine can see flags")
	format := fs.String("format", "auto", "format of the file: auto, ndjson, json or csv (default auto)")
	comma := fs.String("comma", ",", "character that separates the columns of a CSV file (default a comma)")
	fs.IntVar(&s.send.Chunk, "chunk", 500, "number of items to send at a time (default 500)")
	fs.StringVar(&s.send.KeyPrefix, "key-prefix", "", "first part of every item's idempotency key (default the name of the file)")
	fs.DurationVar(&s.send.Timeout, "timeout", 5*time.Minute, "how long to retry without progress before giving up (default 5m)")
	fs.StringVar(&s.refused, "refused", "", "file to which refused items are written, as NDJSON")
	fs.BoolVar(&s.wait, "wait", false, "wait until all submitted requests have ended, and print how many ended in which status")
	files, err := parseMixed(fs, in.args)
	if err != nil {
		return nil, err
	}
	if len(files) != 1 {
		return nil, errors.New("mass submit: want the name of one file, or - for standard input")
	}
	separator, size := utf8.DecodeRuneInString(*comma)
	if size == 0 || size != len(*comma) {
		return nil, fmt.Errorf("mass submit: --comma must be one character, not %q", *comma)
	}
	s.path = files[0]
	s.read = submit.ReaderOptions{Name: s.path, Format: submit.Format(*format), Comma: separator}
	s.send.KeyPrefix = cmp.Or(s.send.KeyPrefix, s.name())
	s.send.Token = cmp.Or(*token, in.getenv("MASS_TOKEN"))
	if s.send.Token == "" && s.send.URL == dev.URL {
		s.send.Token = dev.Token
	}
	return s, nil
}

// parseMixed parses flags that may come before, between and after other
// arguments.
func parseMixed(fs *flag.FlagSet, args []string) (others []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		if args = fs.Args(); len(args) == 0 {
			return others, nil
		}
		others, args = append(others, args[0]), args[1:]
	}
}

func (s *submission) name() string {
	if s.path == "-" {
		return "stdin"
	}
	return filepath.Base(s.path)
}

// open opens the input. It counts the items of a regular file, which finds a
// file that cannot be read to its end before anything is sent.
func (s *submission) open() (io.ReadCloser, int, error) {
	if s.path == "-" {
		return io.NopCloser(s.in.stdin), 0, nil
	}
	file, err := os.Open(s.path)
	if err != nil {
		return nil, 0, fmt.Errorf("mass submit: %w", err)
	}
	total := 0
	if info, statErr := file.Stat(); statErr == nil && info.Mode().IsRegular() {
		total, err = countItems(file, s.read)
		if err == nil {
			_, err = file.Seek(0, io.SeekStart)
		}
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("%s cannot be read, and nothing was sent: %w", s.path, err), file.Close())
	}
	return file, total, nil
}

func countItems(in io.Reader, o submit.ReaderOptions) (n int, err error) {
	reader, err := submit.NewReader(in, o)
	if err != nil {
		return 0, err
	}
	for ; ; n++ {
		if _, err := reader.Next(); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

// noteRefusals returns note, which prints a refused item and writes it to the
// file of --refused, and done, which is to be called after the last one.
func (s *submission) noteRefusals() (note func(submit.Refusal) error, done func() error, err error) {
	var file *os.File
	if s.refused != "" {
		if file, err = os.OpenFile(s.refused, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
			return nil, nil, fmt.Errorf("mass submit: %w", err)
		}
	}
	shown := 0
	note = func(r submit.Refusal) error {
		if shown++; shown <= shownRefusals {
			fmt.Fprintln(s.in.stderr, r)
		}
		if file == nil {
			return nil
		}
		return json.NewEncoder(file).Encode(r)
	}
	done = func() error {
		if shown > shownRefusals {
			fmt.Fprintf(s.in.stderr, "… and %d more; use --refused FILE to get all of them\n", shown-shownRefusals)
		}
		if file == nil {
			return nil
		}
		return file.Close()
	}
	return note, done, nil
}

// report prints what happened to the items.
func (s *submission) report(sum *submit.Summary, total int, took time.Duration) error {
	tw := tabwriter.NewWriter(s.in.stdout, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "items\tsubmitted\talready there\trefused\tnot sent\t")
	all := max(total, sum.Read)
	fmt.Fprintf(tw, "%d\t%d\t%d\t%d\t%d\t\n", all, sum.Created, sum.Replayed, sum.Refused, all-sum.Read+sum.NotSent())
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.in.stdout, "Took %.1f s.\n", took.Seconds())
	return err
}

// explain adds to the error that ended the sending how to continue.
func (s *submission) explain(ctx context.Context, err error) error {
	again := "run the same command again within 24 hours to continue where it stopped"
	if s.path == "-" {
		again = "send the same input again within 24 hours to continue; nothing is submitted twice"
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %s", again)
	}
	return fmt.Errorf("not everything was sent (%s): %w", again, err)
}

// waitFor waits until the requests have ended, and prints how.
func (s *submission) waitFor(ctx context.Context, ids []int64) error {
	fmt.Fprintf(s.in.stdout, "Waiting for %d requests …\n", len(ids))
	bar := newBar(s.in.stdout, len(ids), "ended")
	s.send.Progress = bar.reach
	ended, err := submit.Wait(ctx, ids, s.send)
	bar.finish()
	tw := tabwriter.NewWriter(s.in.stdout, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "outcome\trequests\t")
	for _, status := range slices.Sorted(maps.Keys(ended)) {
		fmt.Fprintf(tw, "%s\t%d\t\n", status, ended[status])
	}
	if flushErr := tw.Flush(); flushErr != nil {
		return flushErr
	}
	if err != nil {
		return fmt.Errorf("all items were submitted, but waiting for their end failed: %w", err)
	}
	return nil
}
