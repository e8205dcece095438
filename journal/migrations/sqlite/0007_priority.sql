-- Among the orders of an oversold SKU the lower ones go first, if that is asked for. Orders that stand have 0, as all who say nothing.
ALTER TABLE orders ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
