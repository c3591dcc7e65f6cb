package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setting is one field of Config with its tags.
type setting struct {
	env, flag, def, help string
	min, max             string
	oneof                []string
	secret               bool
	field                reflect.Value
}

// Load reads the settings of a subcommand from its flags and the environment.
// extra, if not nil, may add flags of the subcommand's own. All mistakes in the
// environment and in the values are reported together. flag.ErrHelp means that
// the help was asked for, and was written to out.
func Load(command string, args []string, getenv func(string) string, out io.Writer, extra func(*flag.FlagSet)) (*Config, error) {
	c := &Config{}
	fs := flag.NewFlagSet("mass "+command, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	list := settings(c, command)
	var errs []error
	for _, s := range list {
		if s.def != "" {
			if err := s.set(s.def); err != nil {
				errs = append(errs, fmt.Errorf("default of %s: %w", s.env, err))
			}
		}
		if err := s.fromEnv(getenv); err != nil {
			errs = append(errs, err)
		}
		fs.Func(s.flag, s.help, func(v string) error {
			if err := s.set(v); err != nil {
				errs = append(errs, fmt.Errorf("--%s: %w", s.flag, err))
			}
			return nil
		})
	}
	if extra != nil {
		extra(fs)
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
	errs = append(errs, c.check(command))
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("settings of mass %s:\n%w", command, err)
	}
	return c, nil
}

// settings lists the settings of a subcommand; "" lists all.
func settings(c *Config, command string) []setting {
	v := reflect.ValueOf(c).Elem()
	var list []setting
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		if command != "" && !slices.Contains(strings.Fields(tag.Get("for")), command) {
			continue
		}
		env := tag.Get("env")
		list = append(list, setting{
			env: env, flag: strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(env, "MASS_")), "_", "-"),
			def: tag.Get("default"), help: tag.Get("help"), min: tag.Get("min"), max: tag.Get("max"),
			oneof: strings.Fields(tag.Get("oneof")), secret: tag.Get("secret") == "true", field: v.Field(i),
		})
	}
	return list
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

// set parses and checks one value.
func (s setting) set(value string) error {
	if len(s.oneof) > 0 && !slices.Contains(s.oneof, value) {
		return fmt.Errorf("%q is not one of %s", value, strings.Join(s.oneof, ", "))
	}
	parsed, err := parse(s.field.Type(), value)
	if err != nil {
		return err
	}
	for _, bound := range []struct {
		text  string
		wrong func(order int) bool
		word  string
	}{{s.min, func(o int) bool { return o < 0 }, "below"}, {s.max, func(o int) bool { return o > 0 }, "above"}} {
		if bound.text == "" {
			continue
		}
		limit, err := parse(s.field.Type(), bound.text)
		if err != nil {
			return fmt.Errorf("bound %q: %w", bound.text, err)
		}
		if bound.wrong(compare(parsed, limit)) {
			return fmt.Errorf("%s is %s %s", value, bound.word, bound.text)
		}
	}
	s.field.Set(parsed)
	return nil
}

func parse(t reflect.Type, value string) (reflect.Value, error) {
	v := reflect.New(t).Elem()
	switch {
	case t == reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return v, fmt.Errorf("%q is not a duration such as 250ms, 30s or 5m", value)
		}
		v.SetInt(int64(d))
	case t.Kind() == reflect.String:
		v.SetString(value)
	case t.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return v, fmt.Errorf("%q is not true or false", value)
		}
		v.SetBool(b)
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return v, fmt.Errorf("%q is not a whole number", value)
		}
		v.SetInt(n)
	case t.Kind() == reflect.Float64:
		f, err := strconv.ParseFloat(value, 64)
		if err != nil || f != f {
			return v, fmt.Errorf("%q is not a number", value)
		}
		v.SetFloat(f)
	default:
		return v, fmt.Errorf("settings of type %s are not supported", t)
	}
	return v, nil
}

func compare(a, b reflect.Value) int {
	var x, y float64
	if a.CanInt() {
		x, y = float64(a.Int()), float64(b.Int())
	} else {
		x, y = a.Float(), b.Float()
	}
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func writeHelp(out io.Writer, command string, fs *flag.FlagSet, list []setting) {
	fmt.Fprintf(out, "Usage: mass %s [flags]\n\nFlags, with their environment variables and defaults:\n", command)
	known := map[string]setting{}
	for _, s := range list {
		known[s.flag] = s
	}
	fs.VisitAll(func(f *flag.Flag) {
		s, ok := known[f.Name]
		if !ok {
			fmt.Fprintf(out, "  --%s\n        %s\n", f.Name, f.Usage)
			return
		}
		origin := s.env
		if s.secret {
			origin += " or " + s.env + "_FILE"
		}
		if s.def != "" {
			origin += ", default " + s.def
		}
		fmt.Fprintf(out, "  --%s\n        %s (%s)\n", f.Name, f.Usage, origin)
	})
}

// Table writes all settings as a Markdown table, for the documentation.
func Table(out io.Writer) error {
	if _, err := fmt.Fprintf(out, "| variable | default | used by | meaning |\n|---|---|---|---|\n"); err != nil {
		return err
	}
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		def := tag.Get("default")
		if def != "" {
			def = "`" + def + "`"
		}
		if _, err := fmt.Fprintf(out, "| `%s` | %s | %s | %s |\n", tag.Get("env"), def, strings.ReplaceAll(tag.Get("for"), " ", ", "), tag.Get("help")); err != nil {
			return err
		}
	}
	return nil
}
