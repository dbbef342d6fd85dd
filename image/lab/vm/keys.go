package vm

import (
	"context"
	"fmt"
	"strings"
)

// Press presses keys of the machine's keyboard together, by QEMU's names of
// them (QKeyCode), and releases them.
func (v *VM) Press(ctx context.Context, keys ...string) error {
	codes := make([]map[string]string, len(keys))
	for i, k := range keys {
		codes[i] = map[string]string{"type": "qcode", "data": k}
	}
	if err := v.monitor.Execute(ctx, "send-key", map[string]any{"keys": codes}); err != nil {
		return fmt.Errorf("press %s: %w", strings.Join(keys, "-"), err)
	}
	return nil
}
