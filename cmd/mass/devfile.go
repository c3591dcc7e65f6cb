package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// devInfo is the content of dev.json: it tells scripts how to reach the running
// system.
type devInfo struct {
	URL         string `json:"url"`
	Token       string `json:"token"` // API key of an admin, valid for this run only
	DatabaseURL string `json:"database_url"`
	RedisURL    string `json:"redis_url"`
	PID         int    `json:"pid"`
}

func devFile(dataDir string) string { return filepath.Join(dataDir, "dev.json") }

// writeDevFile renames a complete file into place, so that a reader never sees
// half of it.
func writeDevFile(dataDir string, info devInfo) error {
	content, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return fmt.Errorf("write dev.json: %w", err)
	}
	temporary := devFile(dataDir) + ".new"
	if err := os.WriteFile(temporary, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("write dev.json: %w", err)
	}
	if err := os.Rename(temporary, devFile(dataDir)); err != nil {
		return fmt.Errorf("write dev.json: %w", err)
	}
	return nil
}

// readDevFile returns how to reach a running mass dev; the zero value when
// there is none.
func readDevFile(dataDir string) (info devInfo) {
	raw, err := os.ReadFile(devFile(dataDir))
	if err != nil || json.Unmarshal(raw, &info) != nil {
		return devInfo{}
	}
	return info
}
