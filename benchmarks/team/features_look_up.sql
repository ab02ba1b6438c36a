SELECT asks.customer_id, asks.ts, rows.* EXCLUDE (customer_id, discount, churned)
FROM asks
INNER JOIN rows ON rows.customer_id = asks.customer_id
