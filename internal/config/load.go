package config

import (
	"cmp"
	"encoding"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setting is one row of the table.
type setting struct {
	value    any    // pointer to the field of Config
	env      string // environment variable; "" for a fixed value, which tests change
	usedBy   string // subcommands, separated by spaces
	def      string // default; "" is the zero value
	min, max string // bounds, both included; "" is none
	oneof    []string
	secret   bool
	help     string
}

// Command is the subcommand whose settings are loaded.
type Command struct {
	Name  string
	Usage string              // what follows its name in the help; "" means "[flags]"
	About string              // what it does, for the help
	Flags func(*flag.FlagSet) // adds flags that are no settings; may be nil
}

// Default returns the default of every setting, unchecked: it lacks those that
// have none and are required.
func Default() *Config {
	c := &Config{}
	for _, s := range c.settings() {
		if s.def == "" {
			continue
		}
		if err := s.set(s.def); err != nil {
			panic(fmt.Sprintf("config: default %q of %s: %v", s.def, s.env, err)) // a mistake in the table
		}
	}
	return c
}

// Load reads the settings of a subcommand from its flags and the environment;
// all others have their defaults. All mistakes in the environment and in the
// values are reported together. flag.ErrHelp means that the arguments asked for
// the help, and that it was written to out.
func Load(command Command, args []string, getenv func(string) string, out io.Writer) (*Config, error) {
	c := Default()
	fs := flag.NewFlagSet("mass "+command.Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var list []setting
	var errs []error
	for _, s := range c.settings() {
		if !slices.Contains(strings.Fields(s.usedBy), command.Name) {
			continue
		}
		list = append(list, s)
		if err := s.fromEnv(getenv); err != nil {
			errs = append(errs, err)
		}
		fs.Func(s.flag(), s.help, func(v string) error {
			if err := s.set(v); err != nil {
				errs = append(errs, fmt.Errorf("--%s: %w", s.flag(), err))
			}
			return nil
		})
	}
	if command.Flags != nil {
		command.Flags(fs)
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			writeHelp(out, command, fs, list)
			return nil, err
		}
		errs = append(errs, err)
	} else if fs.NArg() > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q", fs.Arg(0)))
	}
	errs = append(errs, c.check(command.Name))
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("settings of mass %s:\n%w", command.Name, err)
	}
	return c, nil
}

// flag is the name of the setting's flag.
func (s setting) flag() string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.env, "MASS_")), "_", "-")
}

// fromEnv takes the value of the variable, or of the file that its _FILE twin names.
func (s setting) fromEnv(getenv func(string) string) error {
	value, name := getenv(s.env), s.env
	if path := getenv(s.env + "_FILE"); path != "" {
		name = s.env + "_FILE"
		if value != "" {
			return fmt.Errorf("%s and %s are both set", s.env, name)
		}
		content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		value = strings.TrimSpace(string(content))
	}
	if value == "" {
		return nil
	}
	if err := s.set(value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// set parses and checks one value, and stores it in its field.
func (s setting) set(value string) error {
	if len(s.oneof) > 0 && !slices.Contains(s.oneof, value) {
		return fmt.Errorf("%q is not one of %s", value, strings.Join(s.oneof, ", "))
	}
	switch field := s.value.(type) {
	case *string:
		*field = value
		return nil
	case *bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is not true or false", value)
		}
		*field = b
		return nil
	case *int:
		return setBounded(s, field, value, parseInt)
	case *int64:
		return setBounded(s, field, value, parseInt64)
	case *float64:
		return setBounded(s, field, value, parseFloat)
	case *time.Duration:
		return setBounded(s, field, value, parseDuration)
	case encoding.TextUnmarshaler:
		return field.UnmarshalText([]byte(value))
	}
	return fmt.Errorf("settings of type %T are not supported", s.value)
}

// setBounded stores a value that lies between the setting's bounds.
func setBounded[T cmp.Ordered](s setting, field *T, value string, parse func(string) (T, error)) error {
	parsed, err := parse(value)
	if err != nil {
		return err
	}
	if s.min != "" {
		if limit, err := parse(s.min); err != nil {
			return fmt.Errorf("lower bound: %w", err)
		} else if parsed < limit {
			return fmt.Errorf("%s is below %s", value, s.min)
		}
	}
	if s.max != "" {
		if limit, err := parse(s.max); err != nil {
			return fmt.Errorf("upper bound: %w", err)
		} else if parsed > limit {
			return fmt.Errorf("%s is above %s", value, s.max)
		}
	}
	*field = parsed
	return nil
}

func parseInt64(value string) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", value)
	}
	return n, nil
}

func parseInt(value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", value)
	}
	return n, nil
}

func parseFloat(value string) (float64, error) {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || f != f { // not a number
		return 0, fmt.Errorf("%q is not a number", value)
	}
	return f, nil
}

func parseDuration(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration such as 250ms, 30s or 5m", value)
	}
	return d, nil
}

func writeHelp(out io.Writer, command Command, fs *flag.FlagSet, list []setting) {
	fmt.Fprintf(out, "Usage: mass %s %s\n\n", command.Name, cmp.Or(command.Usage, "[flags]"))
	if command.About != "" {
		fmt.Fprintf(out, "%s\n\n", command.About)
	}
	fmt.Fprint(out, "Flags, with their environment variables and defaults:\n")
	known := map[string]setting{}
	for _, s := range list {
		known[s.flag()] = s
	}
	fs.VisitAll(func(f *flag.Flag) {
		s := known[f.Name]
		var origin []string
		switch {
		case s.secret:
			origin = append(origin, s.env+" or "+s.env+"_FILE")
		case s.env != "":
			origin = append(origin, s.env)
		}
		if def := cmp.Or(s.def, f.DefValue); def != "" && (s.env != "" || def != "0" && def != "false") {
			origin = append(origin, "default "+def)
		}
		fmt.Fprintf(out, "  --%s\n        %s", f.Name, f.Usage)
		if len(origin) > 0 {
			fmt.Fprintf(out, " (%s)", strings.Join(origin, ", "))
		}
		fmt.Fprintln(out)
	})
}
